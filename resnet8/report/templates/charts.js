// Draws Vega-Lite charts one after the other, so that the page stays responsive.
// Source: Vega-Lite 6, https://vega.github.io/vega-lite/docs/

const data = JSON.parse(document.getElementById("report-data").textContent);
const byId = (id) => document.getElementById(id);
const css = (name) => `var(--${name})`; // colours of the page: charts follow its theme

const CONFIG = {
  background: "transparent",
  font: "system-ui, sans-serif",
  axis: {
    labelColor: css("ink-soft"), titleColor: css("ink-soft"), titleFontWeight: "normal",
    gridColor: css("line"), domainColor: css("line"), tickColor: css("line"), labelLimit: 150,
  },
  legend: {
    labelColor: css("ink"), titleColor: css("ink-soft"), orient: "top", title: null, columns: 2,
    symbolOpacity: 1,
  },
  view: { stroke: null },
};
const OPTIONS = {
  mode: "vega-lite", renderer: "svg", actions: false, ast: true, // no eval: the page forbids it
  config: CONFIG,
};

const drawn = new Map(); // by element: its view, finalized before the next one is drawn
const wanted = new Map(); // the latest chart by element: earlier ones that still wait are left out
let queue = Promise.resolve();

function draw(id, description, height, values, layer) {
  const chart = { description, height, width: "container", data: { values }, layer };
  wanted.set(id, chart);
  const last = queue.then(async () => {
    if (wanted.get(id) !== chart) return;
    await new Promise((resolve) => setTimeout(resolve)); // the page handles events and repaints
    drawn.get(id)?.finalize();
    drawn.set(id, await vegaEmbed(byId(id), chart, OPTIONS));
  }).catch((error) => console.error(`chart ${id}:`, error)); // the others are drawn
  const { dataset } = document.documentElement;
  delete dataset.ready;
  last.then(() => { if (queue === last) dataset.ready = "true"; }); // all charts are drawn
  queue = last;
}

// An element with properties and children.
function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// --- Parts of charts ---

const mark = (type, encoding, options = {}) => ({ mark: { type, ...options }, encoding });
const marks = (values, type, encoding, options) =>
  ({ data: { values }, ...mark(type, encoding, options) });
const rowsBy = (field) => ({ y: { field, type: "nominal", sort: null, title: null } });
const quantity = (field, title, options = {}) =>
  ({ field, type: "quantitative", title, axis: { tickCount: 6 }, ...options });

// A tooltip: fields with words, then fields with numbers and their formats.
const tooltip = (words, numbers = {}) => [
  ...words.map((field) => ({ field })),
  ...Object.entries(numbers).map(([field, format]) => ({ field, type: "quantitative", format })),
];

function byVariant(names) {
  const domain = [...new Set(names)];
  return { field: "variant", type: "nominal", scale: { domain, range: domain.map(css) } };
}

const referenceLine = (channel, datum) => mark("rule", { [channel]: { datum } },
  { color: css("ink-soft"), strokeDash: [3, 3], aria: false });

// Points at `mean` on lines from `low` to `high`, along channel `x` or `y`.
function intervals(channel, title, encoding, opacity = 1) {
  const [low, mean] = ["low", "mean"].map((x) => quantity(x, title, { scale: { zero: false } }));
  const ends = { [channel]: low, [`${channel}2`]: { field: "high" } };
  return [
    mark("rule", { ...encoding, ...ends }, { strokeWidth: 2, opacity }),
    mark("point", { ...encoding, [channel]: mean }, { filled: true, size: 50, opacity: 1 }),
  ];
}
