// The charts that do not depend on a reader's choices.

const { comparison, compared } = data;
const { layers } = data.layers;
const DELTA = "delta, percentage points (95% interval)";
const DELTA_TIPS = { mean: "+.2f", low: "+.2f", high: "+.2f" };
const SPREAD_TIPS = { mean: ".2f", low: ".2f", high: ".2f" };
const POINT = { filled: true, size: 50, opacity: 1 };

// --- Accuracy of variants, and by class ---

function drawDeltas() {
  const values = compared.map((variant) => {
    const row = comparison.variants[variant];
    return { variant, mean: row.accuracy_delta_pp, low: row.ci95_low_pp, high: row.ci95_high_pp };
  });
  const listed = values.map(({ variant, mean }) => `${variant} ${mean.toFixed(2)}`).join("; ");
  const encoding = {
    ...rowsBy("variant"), color: { ...byVariant(compared), legend: null },
    tooltip: tooltip(["variant"], DELTA_TIPS),
  };
  draw("deltas", `Accuracy minus that of ${data.baseline} in percentage points: ${listed}`,
    32 * values.length, values, [referenceLine("x", 0), ...intervals("x", DELTA, encoding)]);
}

// A row for each class with images, in which variants are below each other. `toValue` gives the
// figures of a variant and class; `toMarks` gives the marks.
function drawClasses(id, description, variants, numbers, toValue, toMarks) {
  const names = Object.keys(data.classes);
  const values = variants.flatMap((variant) =>
    names.map((name) => ({ variant, class: name, ...toValue(variant, name) })));
  const encoding = {
    ...rowsBy("class"), yOffset: { field: "variant", sort: null }, color: byVariant(variants),
    tooltip: tooltip(["class", "variant"], numbers),
  };
  draw(id, description, 12 * (compared.length + 2) * names.length, values, toMarks(encoding));
}

function classDelta(variant, name) {
  const row = comparison.variants[variant];
  const [low, high] = row.per_class_ci95_pp[name];
  return { mean: row.per_class_delta_pp[name], low, high };
}

function classAccuracy(variant, name) {
  const row = data.confusion[variant][data.classes[name]];
  return { accuracy: (100 * row[data.classes[name]]) / row.reduce((a, b) => a + b) };
}

// --- SQNR and sensitivity of layers ---

// Statistics of a layer's output over the calibration images, if the variant has the layer.
const statisticsOf = (layer, variant) =>
  data.layers.activations.calibration[layer][variant]?.statistics;
const sqnrOf = (layer, variant) => statisticsOf(layer, variant)?.sqnr_db ?? null;

// The edges of the network between some layers, across those that are left out.
function edgesBetween(names) {
  const inputs = new Map(data.network.layers.map((row) => [row.name, row.inputs]));
  const sources = (name) => [...new Set((inputs.get(name) ?? [])
    .flatMap((x) => (names.includes(x) ? [x] : sources(x))))];
  return names.flatMap((name) => sources(name).map((source) => [source, name]));
}

// The SQNR from the input, at the top, to the output. Lines follow the network's edges: parallel
// branches are no sequence. In the row of a layer, no variant covers another.
function drawSqnr(variants) {
  const step = 0.6 / Math.max(variants.length, 2);
  const points = variants.flatMap((variant, i) => layers.map((layer, row) => ({
    layer, variant, sqnr: sqnrOf(layer, variant),
    place: row + step * (i - (variants.length - 1) / 2),
  }))).filter(({ sqnr }) => sqnr !== null);
  const lines = variants.flatMap((variant) => {
    const noisy = new Map(points.filter((point) => point.variant === variant)
      .map((point) => [point.layer, point]));
    return edgesBetween([...noisy.keys()]).map(([from, to]) =>
      ({ ...noisy.get(from), end: noisy.get(to).sqnr, endPlace: noisy.get(to).place }));
  });
  const x = quantity("sqnr", "SQNR, dB (higher is better)", { scale: { zero: false } });
  const y = quantity("place", null, {
    axis: {
      values: layers.map((_, i) => i), labelExpr: `${JSON.stringify(layers)}[datum.value]`,
      grid: false, ticks: false,
    },
    scale: { reverse: true, domain: [-0.5, layers.length - 0.5], nice: false },
  });
  const place = { x, y, color: byVariant(variants) };
  const ends = { ...place, x2: { field: "end" }, y2: { field: "endPlace" } };
  const tips = { tooltip: tooltip(["layer", "variant"], { sqnr: ".1f" }) };
  draw("sqnr-chart", "SQNR by layer, from input to output; lines follow the edges of the network",
    26 * layers.length, points, [
      marks(lines, "rule", ends, { strokeWidth: 1.2, opacity: 0.7, aria: false }),
      mark("point", { ...place, ...tips }, { ...POINT, size: 38 }),
    ]);
}

// Bars: cost of quantizing each layer alone; points: what leaving it in float saves.
function drawSensitivity(variant, ranking) {
  const values = Object.entries(ranking.layers).sort(([, a], [, b]) => a.rank - b.rank)
    .map(([layer, { alone, spared }]) => ({
      layer, alone: alone.kl_divergence, saved: ranking.all.kl_divergence - spared.kl_divergence,
    }));
  const tips = tooltip(["layer"], { alone: ".3~g", saved: ".3~g" });
  const rows = { ...rowsBy("layer"), tooltip: tips };
  const [alone, saved] = ["alone", "saved"].map((field) =>
    quantity(field, "KL divergence, nats", { axis: { tickCount: 4, format: "~g" } }));
  draw(`sensitivity-${variant}`,
    `Layers of ${variant} by the KL divergence when each alone is quantized, largest first`,
    19 * values.length, values, [
      mark("bar", { ...rows, x: alone }, { height: { band: 0.6 }, color: css(variant) }),
      mark("point", { ...rows, x: saved }, { shape: "diamond", size: 45, color: css("ink") }),
    ]);
}

// --- Sweep: means, worst and best draws ---

const HEIGHT = 240; // pixels
const ACCURACY = "top-1 accuracy, %";
const baselineAccuracy = referenceLine("y", 100 * data.sweep.baseline_accuracy);
const percent = ({ mean, low, high }) => ({ mean: 100 * mean, low: 100 * low, high: 100 * high });
const settings = data.sweep.settings.map((row) => ({
  ...row, settings: row.description, draws: row.seeds.length, size: row.file_bytes / 1000,
}));

function drawByImages(id, figure, title, layer) {
  const usual = settings.filter(({ changes }) => !Object.keys(changes).length);
  const variants = [...new Set(usual.map(({ variant }) => variant))];
  const values = usual.map((row) => ({
    ...row, ...percent(row[figure]),
    // Side by side, so that no variant hides another.
    place: row.images * 1.06 ** (variants.indexOf(row.variant) - (variants.length - 1) / 2),
  }));
  const x = quantity("place", "calibration images (logarithmic)", {
    scale: { type: "log", nice: false, padding: 12 },
    axis: {
      values: [...new Set(usual.map(({ images }) => images))], format: ",d", grid: false,
      labelOverlap: false, labelAngle: -45,
    },
  });
  const tips = tooltip(["variant"], { images: ",d", draws: "d", ...SPREAD_TIPS });
  const encoding = { x, color: byVariant(variants), tooltip: tips };
  const y = quantity("mean", title, { scale: { zero: false } });
  draw(id, `${title} against the number of calibration images: mean, worst and best draw`,
    HEIGHT, values, [
      ...layer, mark("line", { ...encoding, y }, { strokeWidth: 1.5 }),
      ...intervals("y", title, encoding, 0.45),
    ]);
}

function drawFront(id, runtime) {
  const values = settings.filter(({ variant }) => variant.startsWith(runtime))
    .map((row) => ({ ...row, ...percent(row.top1_accuracy) }));
  const sizes = values.map(({ size }) => size);
  const domain = [0.98 * Math.min(...sizes), 1.02 * Math.max(...sizes)];
  const x = quantity("size", "model file, kB", { scale: { domain, nice: false } });
  const tips = tooltip(["variant", "settings"], { size: ".1f", ...SPREAD_TIPS });
  const encoding = { x, color: byVariant(values.map(({ variant }) => variant)), tooltip: tips };
  const place = { x, y: quantity("mean", ACCURACY, { scale: { zero: false } }) };
  const onFront = { transform: [{ filter: "datum.on_front" }] };
  const line = { interpolate: "step-after", color: css("ink-soft"), aria: false };
  const ring = { size: 130, color: css("ink"), strokeWidth: 1.5, aria: false };
  draw(id, "Top-1 accuracy against the size of the model file: mean, worst and best draw; "
    + "the settings that no other beats are ringed", HEIGHT, values, [
    { ...onFront, ...mark("line", place, line) }, baselineAccuracy,
    ...intervals("y", ACCURACY, encoding, 0.45), { ...onFront, ...mark("point", place, ring) },
  ]);
}

drawDeltas();
drawClasses("class-deltas", `Accuracy by class minus that of ${data.baseline}, with 95% intervals`,
  compared, DELTA_TIPS, classDelta,
  (encoding) => [referenceLine("x", 0), ...intervals("x", DELTA, encoding)]);
const accuracyAxis = quantity("accuracy", "accuracy, %", { scale: { zero: false, nice: true } });
drawClasses("class-accuracies", "Accuracy by class", [data.baseline, ...compared],
  { accuracy: ".1f" }, classAccuracy,
  (encoding) => [mark("point", { ...encoding, x: accuracyAxis }, POINT)]);
if (byId("sqnr-chart")) drawSqnr(data.quantized);
for (const [variant, ranking] of Object.entries(data.rankings)) drawSensitivity(variant, ranking);
if (byId("sweep-accuracy")) {
  drawByImages("sweep-accuracy", "top1_accuracy", ACCURACY, [baselineAccuracy]);
  drawByImages("sweep-agreement", "agreement", "agreement with the baseline, %", []);
}
for (const { id } of document.querySelectorAll("[id^=sweep-front-]")) {
  drawFront(id, id.split("-").at(-1));
}
