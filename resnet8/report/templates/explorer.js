// Shows the chosen layer of two chosen variants side by side.

const NONE = "–";
const choose = Object.fromEntries(
  ["layer", "variant-a", "variant-b", "data", "logarithmic"].map((id) => [id, byId(id)]));

// --- Statistics ---

const text = (x) => x;
const figure = (x, digits = 4) => String(Number(x.toPrecision(digits)));
const whole = (x) => x.toLocaleString("en");
const share = (x) => `${figure(100 * x)}%`;
const decibels = (x) => `${x.toFixed(1)} dB`;

// Rows of the tables: key of a statistic or a percentile, label, and how the value is written.
const STATISTICS = [
  ["captured_at", "captured at", text],
  ["shape", "shape", (x) => x.join(" × ")],
  ["n_values", "values", whole],
  ["mean", "mean", figure],
  ["std", "standard deviation", figure],
  ["min", "smallest", figure],
  ...["0.1", "1", "25"].map((p) => [p, `percentile ${p}`, figure]),
  ["50", "median", figure],
  ...["75", "99", "99.9"].map((p) => [p, `percentile ${p}`, figure]),
  ["max", "largest", figure],
  ["dynamic_range", "dynamic range", figure],
  ["zeros_share", "zeros", share],
  ["dtype", "type of the codes", text],
  ["scale", "scale", figure],
  ["zero_point", "zero point", whole],
  ["clip_low", "range from", figure],
  ["clip_high", "range to", figure],
  ["clipped_low_share", "clipped at the lower end", share],
  ["clipped_high_share", "clipped at the upper end", share],
  ["clips_on_purpose", "clips on purpose", text],
  ["levels_used", "levels used", (x) => `${x} of 256 (${figure((100 * x) / 256, 3)}%)`],
  ["reference", "compared with", text],
  ["sqnr_db", "SQNR", decibels],
  ["cosine_similarity", "cosine similarity", (x) => figure(x, 6)],
  ["max_abs_error", "largest error", figure],
];

function written(statistics, key, write) {
  if (key === "sqnr_db" && statistics?.[key] === null && statistics.max_abs_error === 0) {
    return "no error";
  }
  const value = statistics?.[key] ?? statistics?.percentiles[key];
  return value === undefined || value === null ? NONE : write(value);
}

const sqnrText = (statistics) => written(statistics, "sqnr_db", decibels);

// A column for each side, and a line for each statistic that any of them has.
function fillTable(id, sides) {
  const line = (words, isHead) => element("tr", {}, ...words.map((word, column) => {
    const head = { scope: isHead ? "col" : "row" };
    return isHead || !column ? element("th", head, word) : element("td", {}, word);
  }));
  const lines = STATISTICS.map(([key, label, write]) =>
    [label, ...sides.map(({ row }) => written(row?.statistics, key, write))]);
  byId(id).tHead.replaceChildren(line(["", ...sides.map(({ head }) => head)], true));
  byId(id).tBodies[0].replaceChildren(...lines
    .filter(([, ...cells]) => cells.some((cell) => cell !== NONE)).map((cells) => line(cells)));
}

// --- Reasons for missing figures ---

const note = (words, ...more) => element("p", { className: "note" }, `${NONE}: ${words}`, ...more);

// Why a variant has no figures for a layer, or only some; nothing where it has all.
function gap({ variant, row }, layer) {
  if (!row) {
    const reason = data.layers.absent[variant]?.[layer] ?? "its graph has no such layer";
    const instead = layers.filter((name) => reason.endsWith(` ${name}`)).map((name) =>
      element("button", { type: "button", className: "link", onclick: () => show({ layer: name }) },
        `Show ${name}`));
    return note(`${variant} does not show ${layer}: ${reason}. `, ...instead.slice(0, 1));
  }
  return row.statistics.scale === undefined
    ? note(`${variant} has no 8-bit codes at ${layer}, so no scale, range and levels there.`) : "";
}

// --- Charts: side A as bars, side B as lines ---

// Screen readers get the chart's description and the tables, not each mark.
const SIDE_A = { color: css("side-a-fill"), binSpacing: 0, aria: false };
const SIDE_B = { color: css("side-b"), aria: false };

// Draws those marks that have values; a chart without any is hidden.
function drawSides(id, description, layer) {
  const filled = layer.filter(({ data: { values } }) => values.length);
  byId(id).hidden = !filled.length;
  if (filled.length) draw(id, description, 190, [], filled);
}

// The bins of a histogram from the first to the last in which any of some counts something: all
// variants share their bins, and others may reach much further.
function bins({ low, high, counts }, histograms) {
  const used = counts.map((_, i) => histograms.some((x) => x.counts[i] > 0));
  const edge = (i) => low + (i * (high - low)) / counts.length;
  const all = counts.map((count, i) => ({ low: edge(i), high: edge(i + 1), count }));
  return used.includes(true) ? all.slice(used.indexOf(true), used.lastIndexOf(true) + 1) : all;
}

// Histograms, and the ends of quantized ranges.
function drawHistogram(id, title, sides, part, where) {
  const histograms = sides.map(({ row }) => row?.[part]);
  const [a, b] = histograms.map((x) => (x ? bins(x, histograms.filter(Boolean)) : []));
  // A line in steps needs the end of its last bin.
  if (b.length) b.push({ low: b.at(-1).high, high: b.at(-1).high, count: 0 });
  const ends = sides.flatMap(({ head, row }) => ["clip_low", "clip_high"].map((key) =>
    ({ at: row?.statistics[key], side: `${head}, end of its range` })));
  const clips = part === "histogram" ? ends.filter(({ at }) => at !== undefined) : [];
  const isLogarithmic = choose.logarithmic.checked && id !== "bias-histogram";
  const floor = isLogarithmic ? 0.5 : 0; // below a single value: an empty bin lies on the axis
  const y = quantity("count", "values in a bin", { axis: { format: "~s", tickCount: 4 } });
  if (isLogarithmic) {
    const labelExpr = "datum.value < 1 ? '' : format(datum.value, '~s')";
    y.axis = { labelExpr, tickCount: 4, grid: false };
    y.scale = { type: "log", domainMin: floor, clamp: true };
  }
  const x = quantity("low", title, { scale: { zero: false, nice: false } });
  const tips = tooltip([], { low: ".4~g", high: ".4~g", count: ",.0f" });
  const bar = { x, x2: { field: "high" }, y, y2: { datum: floor }, tooltip: tips };
  const at = { x: quantity("at", title), tooltip: tooltip(["side"], { at: ".4~g" }) };
  drawSides(id, `Histograms of the ${title} of ${where}`, [
    marks(a, "bar", bar, SIDE_A),
    marks(b, "line", { x, y }, { ...SIDE_B, interpolate: "step-after", strokeWidth: 1.8 }),
    marks(clips, "rule", at, { ...SIDE_B, color: css("clip"), strokeDash: [5, 3] }),
  ]);
}

// The range of each channel; from zero where a channel has one value, as a bias has.
function channelRows(lows = [], highs = []) {
  return lows.map((low, channel) => {
    const [high, isValue] = [highs[channel], low === highs[channel]];
    return {
      channel, middle: channel + 0.45, end: channel + 0.9, ends: isValue ? [low] : [low, high],
      low: isValue ? Math.min(0, low) : low, high: isValue ? Math.max(0, high) : high,
    };
  }).filter(({ ends }) => !ends.includes(null));
}

// A range for each output channel; lines end in points.
function drawChannels(id, title, sides, [low, high], where) {
  const [a, b] = sides.map(({ row }) => channelRows(row?.[low], row?.[high]));
  const ends = b.flatMap((row) => row.ends.map((at) => ({ middle: row.middle, at })));
  const axis = { tickMinStep: 1, tickCount: 8, grid: false };
  const x = quantity("channel", "output channel", { axis });
  const tips = tooltip([], { channel: "d", low: ".4~g", high: ".4~g" });
  const range = { x, y: quantity("low", title), y2: { field: "high" }, tooltip: tips };
  const middle = { ...x, field: "middle" };
  const at = { x: middle, y: quantity("at", title), tooltip: tooltip([], { at: ".4~g" }) };
  drawSides(id, `${title} by output channel of ${where}`, [
    marks(a, "bar", { ...range, x2: { field: "end" } }, SIDE_A),
    marks(b, "rule", { ...range, x: middle }, { ...SIDE_B, strokeWidth: 1.5 }),
    marks(ends, "point", at, { ...SIDE_B, filled: true, size: 18 }),
  ]);
}

// --- Parts of the section ---

function showOutput(layer, sides, where) {
  fillTable("statistics", sides);
  const notes = sides[0].variant === sides[1].variant ? sides.slice(1) : sides;
  byId("notes").replaceChildren(...notes.map((side) => gap(side, layer)).filter(Boolean));
  const errors = sides.filter(({ variant, row }) => row && !variant.endsWith("_fp32"))
    .map(({ variant, row }) => `SQNR of ${variant}: ${sqnrText(row.statistics)}.`);
  byId("explorer-status").textContent = [`${where}.`, ...errors].join(" ");
  drawHistogram("activation-histogram", "value of the output", sides, "histogram", where);
  drawHistogram("error-histogram", "error of the output", sides, "error_histogram", where);
}

function showParameters(layer, sides, where) {
  const kinds = data.layers.parameters[layer];
  byId("parameters").hidden = !kinds;
  byId("no-parameters").hidden = Boolean(kinds);
  if (!kinds) return;
  const [weights, biases] = ["weight", "bias"].map((kind) => sides.map((side) =>
    ({ ...side, head: `${kind}, ${side.head}`, row: kinds[kind]?.[side.variant] })));
  fillTable("parameter-statistics", [...weights, ...biases]);
  byId("keras-note").hidden = !sides.some(({ variant }) => variant.startsWith("keras"));
  const [ends, sqnr] = [["channel_min", "channel_max"], ["channel_sqnr_db", "channel_sqnr_db"]];
  drawHistogram("weight-histogram", "weight", weights, "histogram", where);
  drawChannels("weight-ranges", "smallest to largest weight", weights, ends, where);
  drawChannels("weight-errors", "SQNR, dB", weights, sqnr, where);
  drawHistogram("bias-histogram", "bias", biases, "histogram", where);
  drawChannels("bias-ranges", "bias", biases, ends, where);
}

function showMaps(layer, sides) {
  const map = data.maps.layers[layer];
  byId("feature-maps").hidden = !map;
  if (!map) return;
  sides.forEach(({ head, variant }, i) => {
    const name = `map-${"AB"[i]}`;
    const picture = data.maps.pictures[map.picture[variant]];
    const alt = `${layer} in ${variant}: ${map.content}`;
    Object.assign(byId(name), { hidden: !picture, src: picture ?? "", alt });
    byId(`${name}-caption`).textContent = picture ? head : `${head}, ${NONE}`;
  });
  byId("map-note").textContent =
    `${map.content}, row by row. Black: ${map.low} or less; white: ${map.high} or more.`;
}

// --- Choices ---

function showLayer() {
  const layer = choose.layer.value;
  const rows = data.layers.activations[choose.data.value][layer] ?? {};
  const sides = ["a", "b"].map((name) => {
    const variant = choose[`variant-${name}`].value;
    byId("explorer").style.setProperty(`--side-${name}`, `var(--${variant})`);
    return { variant, head: `${name.toUpperCase()}: ${variant}`, row: rows[variant] };
  });
  const where = [layer, ...sides.map(({ head }) => head)].join(", ");
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
