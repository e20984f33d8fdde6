// The charts of the layer explorer, whose datasets `explorer.js` fills.

// Marks of a dataset. Screen readers get the chart's description and the tables, not each mark.
function side(name, type, encoding, options) {
  const color = css(name === "a" ? "side-a-fill" : "side-b");
  return { data: { name }, ...mark(type, encoding, { color, aria: false, ...options }) };
}

// Side A as bars, side B as a line, and the ends of quantized ranges.
function histogramChart(title, isLogarithmic) {
  const floor = isLogarithmic ? 0.5 : 0; // below a single value: an empty bin lies on the axis
  const y = quantity("count", "values in a bin", { axis: { format: "~s", tickCount: 4 } });
  if (isLogarithmic) {
    const labelExpr = "datum.value < 1 ? '' : format(datum.value, '~s')";
    y.axis = { labelExpr, tickCount: 4, grid: false };
    y.scale = { type: "log", domainMin: floor, clamp: true };
  }
  const x = quantity("low", title, { scale: { zero: false, nice: false } });
  const tips = tooltip([], { low: ".4~g", high: ".4~g", count: ",.0f" });
  const at = { x: quantity("at", title), tooltip: tooltip(["side"], { at: ".4~g" }) };
  return {
    height: 190,
    layer: [
      side("a", "bar", { x, x2: { field: "high" }, y, y2: { datum: floor }, tooltip: tips },
        { binSpacing: 0 }),
      side("b", "line", { x, y }, { interpolate: "step-after", strokeWidth: 1.8 }),
      side("clips", "rule", at, { color: css("clip"), strokeDash: [5, 3], strokeWidth: 1.8 }),
    ],
  };
}

// A range for each output channel, side A as bars and side B as lines that end in points.
function channelChart(title) {
  const axis = { tickMinStep: 1, tickCount: 8, grid: false };
  const x = quantity("channel", "output channel", { axis });
  const [middle, y, y2] = [{ ...x, field: "middle" }, quantity("low", title), { field: "high" }];
  const tips = tooltip([], { channel: "d", low: ".4~g", high: ".4~g" });
  const at = { x: middle, y: quantity("at", title), tooltip: tooltip([], { at: ".4~g" }) };
  return {
    height: 190,
    layer: [
      side("a", "bar", { x, x2: { field: "end" }, y, y2, tooltip: tips }, { binSpacing: 0 }),
      side("b", "rule", { x: middle, y, y2, tooltip: tips }, { strokeWidth: 1.5 }),
      side("ends", "point", at, { filled: true, size: 18 }),
    ],
  };
}
