// The charts that do not depend on a reader's choices.

const { comparison, compared } = data;
const DELTA = "delta, percentage points (95% interval)";
const DELTA_TIPS = { mean: "+.2f", low: "+.2f", high: "+.2f" };
const SPREAD_TIPS = { mean: ".2f", low: ".2f", high: ".2f" };
const DENSE_ROW = 12; // pixels for each variant in a row

function drawDeltas() {
  const values = compared.map((variant) => {
    const row = comparison.variants[variant];
    const [low, high] = [row.ci95_low_pp, row.ci95_high_pp];
    return { variant, mean: row.accuracy_delta_pp, low, high };
  });
  const signed = (x) => `${x < 0 ? "" : "+"}${x.toFixed(2)}`;
  const listed = values.map(({ variant, mean }) => `${variant} ${signed(mean)}`).join("; ");
  const encoding = {
    ...rowsBy("variant"), color: { ...byVariant(compared), legend: null },
    tooltip: tooltip(["variant"], DELTA_TIPS),
  };
  draw("deltas", {
    description: `Accuracy minus that of ${comparison.baseline} in percentage points: ${listed}`,
    data: { values }, height: 32 * values.length,
    layer: [referenceLine("x", 0), ...intervals("x", DELTA, encoding)],
  });
}

// A row for each class with images, in which variants are below each other.
function classRows(variants, numbers, description, values, layers) {
  const encoding = {
    ...rowsBy("class"), yOffset: { field: "variant", sort: null }, color: byVariant(variants),
    tooltip: tooltip(["class", "variant"], numbers),
  };
  const height = DENSE_ROW * (compared.length + 2) * Object.keys(data.classes).length;
  return { description, data: { values }, height, layer: layers(encoding) };
}

function drawClasses() {
  const names = Object.keys(data.classes);
  const deltas = compared.flatMap((variant) => names.map((name) => {
    const row = comparison.variants[variant];
    const [low, high] = row.per_class_ci95_pp[name];
    return { variant, class: name, mean: row.per_class_delta_pp[name], low, high };
  }));
  draw("class-deltas", classRows(compared, DELTA_TIPS,
    `Accuracy by class minus that of ${comparison.baseline}, with 95% intervals`, deltas,
    (encoding) => [referenceLine("x", 0), ...intervals("x", DELTA, encoding)]));
  const variants = [comparison.baseline, ...compared];
  const accuracies = variants.flatMap((variant) => names.map((name) => {
    const row = data.confusion.counts[variant][data.classes[name]];
    const right = row[data.classes[name]] / row.reduce((a, b) => a + b);
    return { variant, class: name, accuracy: 100 * right };
  }));
  const x = quantity("accuracy", "accuracy, %", { scale: { zero: false, nice: true } });
  draw("class-accuracies", classRows(variants, { accuracy: ".1f" }, "Accuracy by class", accuracies,
    (encoding) => [mark("point", { ...encoding, x }, { filled: true, size: 50, opacity: 1 })]));
}

// Statistics of a layer's output over the calibration images, if the variant has the layer.
const statisticsOf = (layer, variant) =>
  data.explorer.activations.calibration[layer][variant]?.statistics;
const sqnrOf = (layer, variant) => statisticsOf(layer, variant)?.sqnr_db ?? null;

// The edges of the network between some layers, across those that are left out.
function edgesBetween(names) {
  const inputs = new Map(data.network.map((row) => [row.name, row.inputs]));
  const sources = (name) => [...new Set((inputs.get(name) ?? [])
    .flatMap((x) => (names.includes(x) ? [x] : sources(x))))];
  return names.flatMap((name) => sources(name).map((source) => [source, name]));
}

// The SQNR from the input, at the top, to the output. Lines follow the network's edges: parallel
// branches are no sequence. In the row of a layer, no variant covers another.
function drawSqnr() {
  const { layers } = data.explorer;
  const variants = data.quantized;
  const [points, lines] = [[], []];
  variants.forEach((variant, i) => {
    const offset = (0.6 / Math.max(variants.length, 2)) * (i - (variants.length - 1) / 2);
    const at = (layer) => [sqnrOf(layer, variant), layers.indexOf(layer) + offset];
    const noisy = layers.filter((layer) => sqnrOf(layer, variant) !== null);
    for (const layer of noisy) {
      const [sqnr, place] = at(layer);
      points.push({ layer, variant, sqnr, place });
    }
    for (const [from, to] of edgesBetween(noisy)) {
      const [[x, y], [x2, y2]] = [at(from), at(to)];
      lines.push({ variant, x, y, x2, y2 });
    }
  });
  const x = quantity("sqnr", "SQNR, dB (higher is better)", { scale: { zero: false } });
  const y = quantity("place", null, {
    axis: {
      values: layers.map((_, i) => i), labelExpr: `${JSON.stringify(layers)}[datum.value]`,
      grid: false, ticks: false,
    },
    scale: { reverse: true, domain: [-0.5, layers.length - 0.5], nice: false },
  });
  const color = byVariant(variants);
  const ends = { x: { ...x, field: "x" }, x2: { field: "x2" }, y: { ...y, field: "y" } };
  const tips = tooltip(["layer", "variant"], { sqnr: ".1f" });
  draw("sqnr-chart", {
    description: "SQNR by layer, from input to output; lines follow the edges of the network",
    height: 26 * layers.length,
    layer: [
      {
        data: { values: lines },
        ...mark("rule", { ...ends, y2: { field: "y2" }, color },
          { strokeWidth: 1.2, opacity: 0.7, aria: false }),
      },
      {
        data: { values: points },
        ...mark("point", { x, y, color, tooltip: tips }, { filled: true, size: 38, opacity: 1 }),
      },
    ],
  });
}

// Bars: cost of quantizing each layer alone; points: what leaving it in float saves.
function drawSensitivity(variant, { layers, all }) {
  const values = Object.entries(layers).sort(([, a], [, b]) => a.rank - b.rank)
    .map(([layer, { alone, spared }]) => ({
      layer, alone: alone.kl_divergence, saved: all.kl_divergence - spared.kl_divergence,
    }));
  const rows = {
    ...rowsBy("layer"), tooltip: tooltip(["layer"], { alone: ".3~g", saved: ".3~g" }),
  };
  const axis = { tickCount: 4, format: "~g" };
  const title = "KL divergence, nats";
  const [alone, saved] = ["alone", "saved"].map((field) => quantity(field, title, { axis }));
  draw(`sensitivity-${variant}`, {
    description:
      `Layers of ${variant} by the KL divergence when each alone is quantized, largest first`,
    data: { values }, height: 19 * values.length,
    layer: [
      mark("bar", { ...rows, x: alone }, { height: { band: 0.6 }, color: css(variant) }),
      mark("point", { ...rows, x: saved }, { shape: "diamond", size: 45, color: css("ink") }),
    ],
  });
}

// --- Sweep: means, worst and best draws ---

const HEIGHT = 240; // pixels
const percent = (figure) =>
  Object.fromEntries(["mean", "low", "high"].map((name) => [name, 100 * figure[name]]));
const settings = data.sweep.settings.map((row) => ({
  variant: row.variant, settings: row.description, images: row.images, draws: row.seeds.length,
  size: row.file_bytes / 1000, on_front: row.on_front, isUsual: !Object.keys(row.changes).length,
  accuracy: percent(row.top1_accuracy), agreement: percent(row.agreement),
}));

function drawByImages(id, figure, title, layer) {
  const usual = settings.filter(({ isUsual }) => isUsual);
  const variants = [...new Set(usual.map(({ variant }) => variant))];
  const values = usual.map((row) => ({
    ...row, ...row[figure],
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
  draw(id, {
    description: `${title} against the number of calibration images: mean, worst and best draw`,
    data: { values }, height: HEIGHT,
    layer: [
      ...layer, mark("line", { ...encoding, y }, { strokeWidth: 1.5 }),
      ...intervals("y", title, encoding, 0.45),
    ],
  });
}

function drawFront(id, runtime, baseline) {
  const values = settings.filter(({ variant }) => variant.startsWith(runtime))
    .map((row) => ({ ...row, ...row.accuracy }));
  const sizes = values.map(({ size }) => size);
  const domain = [0.98 * Math.min(...sizes), 1.02 * Math.max(...sizes)];
  const x = quantity("size", "model file, kB", { scale: { domain, nice: false } });
  const tips = tooltip(["variant", "settings"], { size: ".1f", ...SPREAD_TIPS });
  const encoding = { x, color: byVariant(values.map(({ variant }) => variant)), tooltip: tips };
  const title = "top-1 accuracy, %";
  const place = { x, y: quantity("mean", title, { scale: { zero: false } }) };
  const onFront = { transform: [{ filter: "datum.on_front" }] };
  const line = { interpolate: "step-after", color: css("ink-soft"), aria: false };
  const ring = { size: 130, color: css("ink"), strokeWidth: 1.5, aria: false };
  draw(id, {
    description: "Top-1 accuracy against the size of the model file: mean, worst and best draw; "
      + "the settings that no other beats are ringed",
    data: { values }, height: HEIGHT,
    layer: [
      { ...onFront, ...mark("line", place, line) }, baseline,
      ...intervals("y", title, encoding, 0.45), { ...onFront, ...mark("point", place, ring) },
    ],
  });
}

function drawSweep() {
  const baseline = referenceLine("y", 100 * data.sweep.baseline_accuracy);
  if (byId("sweep-accuracy")) {
    drawByImages("sweep-accuracy", "accuracy", "top-1 accuracy, %", [baseline]);
    drawByImages("sweep-agreement", "agreement", "agreement with the baseline, %", []);
  }
  for (const { id } of document.querySelectorAll("[id^=sweep-front-]")) {
    drawFront(id, id.split("-").at(-1), baseline);
  }
}

drawDeltas();
drawClasses();
if (byId("sqnr-chart")) drawSqnr();
for (const [variant, ranking] of Object.entries(data.rankings)) drawSensitivity(variant, ranking);
drawSweep();
