// Shows the chosen layer of two chosen variants side by side.

const explorer = data.explorer;
const NONE = "–";
const choose = Object.fromEntries(
  ["layer", "variant-a", "variant-b", "data", "logarithmic"].map((id) => [id, byId(id)]));

// --- Figures ---

const figure = (x, digits = 4) => String(Number(x.toPrecision(digits)));
const write = {
  text: (x) => (Array.isArray(x) ? x.join(" × ") : x),
  figure: (x) => figure(x),
  similarity: (x) => figure(x, 6),
  count: (x) => x.toLocaleString("en"),
  share: (x) => `${figure(100 * x)}%`,
  db: (x) => `${x.toFixed(1)} dB`,
  levels: (x) => `${x} of 256 (${figure((100 * x) / 256, 3)}%)`,
};

function written(statistics, { key, kind }) {
  const [name, ...inner] = key.split(".");
  const value = inner.length ? statistics?.[name]?.[inner.join(".")] : statistics?.[name];
  if (key === "sqnr_db" && value === null && statistics.max_abs_error === 0) return "no error";
  return value === undefined || value === null ? NONE : write[kind](value);
}

function fillTable(id, heads, rows) {
  const table = byId(id);
  const line = (words, isHead) => {
    const row = document.createElement("tr");
    words.forEach((word, column) => {
      const cell = document.createElement(isHead || column === 0 ? "th" : "td");
      if (cell.tagName === "TH") cell.scope = isHead ? "col" : "row";
      cell.textContent = word;
      row.append(cell);
    });
    return row;
  };
  table.tHead.replaceChildren(line(heads, true));
  table.tBodies[0].replaceChildren(...rows.map((row) => line(row, false)));
}

// --- Reasons for what is not there ---

function note(text) {
  const paragraph = document.createElement("p");
  paragraph.className = "note";
  paragraph.textContent = `${NONE}: ${text}`;
  return paragraph;
}

// Why a variant has no figures for a layer, or only some; nothing where it has all.
function gap({ variant, found }, layer) {
  if (!found) {
    const reason = explorer.absent[variant]?.[layer] ?? "its graph has no such layer";
    const paragraph = note(`${variant} does not show ${layer}: ${reason}. `);
    const instead = explorer.layers.find((name) => reason.endsWith(` ${name}`));
    if (instead) {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", className: "link", textContent: `Show ${instead}` });
      button.addEventListener("click", () => show({ layer: instead }));
      paragraph.append(button);
    }
    return paragraph;
  }
  if (variant.endsWith("_fp32")) {
    return note(`${variant} is float: it has no scale, no range and no levels.`);
  }
  if (found.statistics.scale === undefined) {
    return note(`${variant} has no 8-bit codes at ${layer}, so no scale, range and levels there.`);
  }
  return null;
}

// --- Charts ---

function bins(histogram) {
  if (!histogram) return [];
  const width = (histogram.high - histogram.low) / histogram.counts.length;
  return histogram.counts.map((count, i) => ({
    low: histogram.low + i * width, high: histogram.low + (i + 1) * width, count,
  }));
}

// The part of two histograms of the same bins in which either counts something: the bins are
// shared by all variants, and another one may reach much further.
function inUse(histograms) {
  const given = histograms.filter(Boolean);
  if (!given.length) return histograms;
  const used = given[0].counts.map((_, i) => given.some(({ counts }) => counts[i] > 0));
  const [first, last] = [Math.max(0, used.indexOf(true)), used.lastIndexOf(true)];
  return histograms.map((histogram) => {
    if (!histogram || last < 0) return histogram;
    const { low, high, counts } = histogram;
    const width = (high - low) / counts.length;
    return {
      low: low + first * width, high: low + (last + 1) * width,
      counts: counts.slice(first, last + 1),
    };
  });
}

// A line in steps needs the end of its last bin.
function steps(histogram) {
  return histogram
    ? [...bins(histogram), { low: histogram.high, high: histogram.high, count: 0 }] : [];
}

function clips(sides) {
  return sides.filter(({ found }) => found?.statistics.clip_low !== undefined)
    .flatMap(({ name, variant, found }) => ["clip_low", "clip_high"].map((key) => ({
      at: found.statistics[key], side: `${name}: ${variant}, end of its range`,
    })));
}

function drawHistogram(id, title, sides, part, text) {
  const isLogarithmic = choose.logarithmic.checked && id !== "bias-histogram";
  const [a, b] = inUse(sides.map(({ found }) => found?.[part]));
  byId(id).hidden = !a && !b;
  if (!a && !b) return;
  const ends = id === "activation-histogram" ? clips(sides) : [];
  draw(id, histogramChart(title, isLogarithmic), { a: bins(a), b: steps(b), clips: ends }, text);
}

// Bars from zero where a channel has one value, as a bias has.
function channelRows(lows, highs) {
  return (lows ?? []).flatMap((low, channel) => {
    const high = highs[channel];
    if (low === null || high === null) return [];
    const place = { channel, middle: channel + 0.45, end: channel + 0.9 };
    return low === high
      ? [{ ...place, low: Math.min(0, low), high: Math.max(0, high), ends: [low] }]
      : [{ ...place, low, high, ends: [low, high] }];
  });
}

function drawChannels(id, title, sides, [lowKey, highKey], text) {
  const [a, b] = sides.map(({ found }) => channelRows(found?.[lowKey], found?.[highKey]));
  byId(id).hidden = !a.length && !b.length;
  if (byId(id).hidden) return;
  const ends = b.flatMap((row) => row.ends.map((at) => ({ middle: row.middle, at })));
  draw(id, channelChart(title), { a, b, ends }, text);
}

// --- Parts of the section ---

function showOutput(layer, sides, pair) {
  fillTable("statistics", ["", ...sides.map(({ name, variant }) => `${name}: ${variant}`)],
    explorer.statistics.map((row) =>
      [row.label, ...sides.map(({ found }) => written(found?.statistics, row))]));
  const notes = sides[0].variant === sides[1].variant ? sides.slice(1) : sides;
  byId("notes").replaceChildren(...notes.map((side) => gap(side, layer)).filter(Boolean));
  byId("error-note").hidden = sides.some(({ found }) => found?.error_histogram);
  const errors = sides.filter(({ variant, found }) => found && !variant.endsWith("_fp32"))
    .map(({ variant, found }) =>
      `SQNR of ${variant}: ${written(found.statistics, { key: "sqnr_db", kind: "db" })}.`);
  byId("explorer-status").textContent = [`${layer}, ${pair}.`, ...errors].join(" ");
  drawHistogram("activation-histogram", "value of the output", sides, "histogram",
    `Histograms of the output of ${layer}, ${pair}`);
  drawHistogram("error-histogram", "error of the output", sides, "error_histogram",
    `Histograms of the error of ${layer}, ${pair}`);
}

function showParameters(layer, sides, pair) {
  const kinds = explorer.parameters[layer];
  byId("parameters").hidden = !kinds;
  byId("no-parameters").hidden = Boolean(kinds);
  if (!kinds) return;
  const of = (kind) => sides.map((side) => ({ ...side, found: kinds[kind]?.[side.variant] }));
  const [weights, biases] = [of("weight"), of("bias")];
  fillTable("parameter-statistics",
    ["", ...["weight", "bias"].flatMap((kind) =>
      sides.map(({ name, variant }) => `${kind}, ${name}: ${variant}`))],
    explorer.parameter_statistics.map((row) =>
      [row.label, ...[...weights, ...biases].map(({ found }) => written(found?.statistics, row))]));
  byId("weight-errors-note").hidden = weights.some(({ found }) => found?.channel_sqnr_db);
  byId("keras-note").hidden = !sides.some(({ variant }) => variant.startsWith("keras"));
  drawHistogram("weight-histogram", "weight", weights, "histogram",
    `Histograms of the weights of ${layer}, ${pair}`);
  drawChannels("weight-ranges", "smallest to largest weight", weights, ["channel_min", "channel_max"],
    `Smallest and largest weight by output channel of ${layer}, ${pair}`);
  const sqnr = ["channel_sqnr_db", "channel_sqnr_db"];
  drawChannels("weight-errors", "SQNR, dB", weights, sqnr,
    `SQNR of the weights by output channel of ${layer}, ${pair}`);
  drawHistogram("bias-histogram", "bias", biases, "histogram",
    `Histograms of the biases of ${layer}, ${pair}`);
  drawChannels("bias-ranges", "bias", biases, ["channel_min", "channel_max"],
    `Bias by output channel of ${layer}, ${pair}`);
}

function showMaps(layer, sides) {
  const map = explorer.maps.layers[layer];
  byId("feature-maps").hidden = !map;
  if (!map) return;
  for (const { name, variant } of sides) {
    const picture = explorer.maps.pictures[map.picture[variant]];
    const image = byId(`map-${name}`);
    image.hidden = !picture;
    image.src = picture ?? "";
    image.alt = `${layer} in ${variant}: ${map.what}`;
    byId(`map-${name}-caption`).textContent = `${name}: ${variant}${picture ? "" : `, ${NONE}`}`;
  }
  byId("map-note").textContent =
    `${map.what}, row by row. Black: ${map.low} or less; white: ${map.high} or more.`;
}

// --- Choices ---

function showLayer() {
  const layer = choose.layer.value;
  const found = explorer.activations[choose.data.value][layer] ?? {};
  const sides = ["A", "B"].map((name) => {
    const variant = choose[`variant-${name.toLowerCase()}`].value;
    byId("explorer").style.setProperty(`--side-${name.toLowerCase()}`, `var(--${variant})`);
    return { name, variant, found: found[variant] };
  });
  const pair = sides.map(({ name, variant }) => `${name}: ${variant}`).join(", ");
  byId("layer-before").disabled = choose.layer.selectedIndex === 0;
  byId("layer-after").disabled = choose.layer.selectedIndex === choose.layer.length - 1;
  showOutput(layer, sides, pair);
  showParameters(layer, sides, pair);
  showMaps(layer, sides);
}

// Chooses a layer, and a variant with its float reference where one is given.
function show({ layer, variant }) {
  choose.layer.value = layer;
  if (variant) {
    choose["variant-a"].value = `${variant.split("_")[0]}_fp32`;
    choose["variant-b"].value = variant;
  }
  showLayer();
  byId("explorer").scrollIntoView();
  choose.layer.focus({ preventScroll: true });
}

for (const control of Object.values(choose)) control.addEventListener("change", showLayer);
for (const [id, step] of [["layer-before", -1], ["layer-after", 1]]) {
  byId(id).addEventListener("click", () => {
    choose.layer.selectedIndex += step;
    showLayer();
  });
}
for (const link of document.querySelectorAll("[data-layer]")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    show(link.dataset);
  });
}
