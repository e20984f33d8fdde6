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
  const line = (words, isHead) => element("tr", {}, ...words.map((word, column) => {
    const head = { scope: isHead ? "col" : "row" };
    return isHead || !column ? element("th", head, word) : element("td", {}, word);
  }));
  byId(id).tHead.replaceChildren(line(heads, true));
  byId(id).tBodies[0].replaceChildren(...rows.map((row) => line(row, false)));
}

// --- Reasons for what is not there ---

const note = (text, ...more) => element("p", { className: "note" }, `${NONE}: ${text}`, ...more);

// Why a variant has no figures for a layer, or only some; nothing where it has all.
function gap({ variant, row }, layer) {
  if (!row) {
    const reason = explorer.absent[variant]?.[layer] ?? "its graph has no such layer";
    const instead = explorer.layers.filter((name) => reason.endsWith(` ${name}`)).map((name) =>
      element("button", { type: "button", className: "link", onclick: () => show({ layer: name }) },
        `Show ${name}`));
    return note(`${variant} does not show ${layer}: ${reason}. `, ...instead.slice(0, 1));
  }
  if (variant.endsWith("_fp32")) {
    return note(`${variant} is float: it has no scale, no range and no levels.`);
  }
  return row.statistics.scale === undefined
    ? note(`${variant} has no 8-bit codes at ${layer}, so no scale, range and levels there.`) : "";
}

// --- Charts ---

// The bins of a histogram from the first to the last in which any of some counts something: all
// variants share their bins, and others may reach much further.
function bins({ low, high, counts }, histograms) {
  const used = counts.map((_, i) => histograms.some((x) => x.counts[i] > 0));
  const edge = (i) => low + (i * (high - low)) / counts.length;
  const all = counts.map((count, i) => ({ low: edge(i), high: edge(i + 1), count }));
  return used.includes(true) ? all.slice(used.indexOf(true), used.lastIndexOf(true) + 1) : all;
}

function clips(sides) {
  return sides.filter(({ row }) => row?.statistics.clip_low !== undefined)
    .flatMap(({ name, variant, row }) => ["clip_low", "clip_high"].map((key) => ({
      at: row.statistics[key], side: `${name}: ${variant}, end of its range`,
    })));
}

function drawHistogram(id, title, sides, part, where) {
  const histograms = sides.map(({ row }) => row?.[part]);
  const present = histograms.filter(Boolean);
  byId(id).hidden = !present.length;
  if (!present.length) return;
  const [a, b] = histograms.map((x) => (x ? bins(x, present) : []));
  // A line in steps needs the end of its last bin.
  if (b.length) b.push({ low: b.at(-1).high, high: b.at(-1).high, count: 0 });
  const ends = id === "activation-histogram" ? clips(sides) : [];
  const isLogarithmic = choose.logarithmic.checked && id !== "bias-histogram";
  draw(id, histogramChart(title, isLogarithmic), { a, b, clips: ends },
    `Histograms of the ${title} of ${where}`);
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

function drawChannels(id, title, sides, [lowKey, highKey], where) {
  const [a, b] = sides.map(({ row }) => channelRows(row?.[lowKey], row?.[highKey]));
  byId(id).hidden = !a.length && !b.length;
  if (byId(id).hidden) return;
  const ends = b.flatMap((row) => row.ends.map((at) => ({ middle: row.middle, at })));
  draw(id, channelChart(title), { a, b, ends }, `${title} by output channel of ${where}`);
}

// --- Parts of the section ---

function showOutput(layer, sides, where) {
  fillTable("statistics", ["", ...sides.map(({ name, variant }) => `${name}: ${variant}`)],
    explorer.statistics.map((line) =>
      [line.label, ...sides.map(({ row }) => written(row?.statistics, line))]));
  const notes = sides[0].variant === sides[1].variant ? sides.slice(1) : sides;
  byId("notes").replaceChildren(...notes.map((side) => gap(side, layer)).filter(Boolean));
  byId("error-note").hidden = sides.some(({ row }) => row?.error_histogram);
  const errors = sides.filter(({ variant, row }) => row && !variant.endsWith("_fp32"))
    .map(({ variant, row }) =>
      `SQNR of ${variant}: ${written(row.statistics, { key: "sqnr_db", kind: "db" })}.`);
  byId("explorer-status").textContent = [`${where}.`, ...errors].join(" ");
  drawHistogram("activation-histogram", "value of the output", sides, "histogram", where);
  drawHistogram("error-histogram", "error of the output", sides, "error_histogram", where);
}

function showParameters(layer, sides, where) {
  const kinds = explorer.parameters[layer];
  byId("parameters").hidden = !kinds;
  byId("no-parameters").hidden = Boolean(kinds);
  if (!kinds) return;
  const of = (kind) => sides.map((side) => ({ ...side, row: kinds[kind]?.[side.variant] }));
  const [weights, biases] = [of("weight"), of("bias")];
  const heads = ["weight", "bias"].flatMap((kind) =>
    sides.map(({ name, variant }) => `${kind}, ${name}: ${variant}`));
  fillTable("parameter-statistics", ["", ...heads], explorer.parameter_statistics.map((line) =>
    [line.label, ...[...weights, ...biases].map(({ row }) => written(row?.statistics, line))]));
  byId("weight-errors-note").hidden = weights.some(({ row }) => row?.channel_sqnr_db);
  byId("keras-note").hidden = !sides.some(({ variant }) => variant.startsWith("keras"));
  const [ends, sqnr] = [["channel_min", "channel_max"], ["channel_sqnr_db", "channel_sqnr_db"]];
  drawHistogram("weight-histogram", "weight", weights, "histogram", where);
  drawChannels("weight-ranges", "smallest to largest weight", weights, ends, where);
  drawChannels("weight-errors", "SQNR, dB", weights, sqnr, where);
  drawHistogram("bias-histogram", "bias", biases, "histogram", where);
  drawChannels("bias-ranges", "bias", biases, ends, where);
}

function showMaps(layer, sides) {
  const map = explorer.maps.layers[layer];
  byId("feature-maps").hidden = !map;
  if (!map) return;
  for (const { name, variant } of sides) {
    const picture = explorer.maps.pictures[map.picture[variant]];
    const alt = `${layer} in ${variant}: ${map.what}`;
    Object.assign(byId(`map-${name}`), { hidden: !picture, src: picture ?? "", alt });
    byId(`map-${name}-caption`).textContent = `${name}: ${variant}${picture ? "" : `, ${NONE}`}`;
  }
  byId("map-note").textContent =
    `${map.what}, row by row. Black: ${map.low} or less; white: ${map.high} or more.`;
}

// --- Choices ---

function showLayer() {
  const layer = choose.layer.value;
  const rows = explorer.activations[choose.data.value][layer] ?? {};
  const sides = ["A", "B"].map((name) => {
    const variant = choose[`variant-${name.toLowerCase()}`].value;
    byId("explorer").style.setProperty(`--side-${name.toLowerCase()}`, `var(--${variant})`);
    return { name, variant, row: rows[variant] };
  });
  const where = [layer, ...sides.map(({ name, variant }) => `${name}: ${variant}`)].join(", ");
  byId("layer-before").disabled = choose.layer.selectedIndex === 0;
  byId("layer-after").disabled = choose.layer.selectedIndex === choose.layer.length - 1;
  showOutput(layer, sides, where);
  showParameters(layer, sides, where);
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
