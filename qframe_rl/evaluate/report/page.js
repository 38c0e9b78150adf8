"use strict";
// Draws REPORT.charts as SVG. Drag to zoom, double click to see all again, click a name to hide its series.
const INK = "#222", FAINT = "#777", GRID = "#e4e4e4", NS = "http://www.w3.org/2000/svg";
const W = 980, PAD = { left: 62, right: 14, top: 8, bottom: 34 };
const colourOf = s => s.colour === -1 ? INK : s.colour === -2 ? FAINT : REPORT.palette[s.colour % REPORT.palette.length];
const el = (name, attributes, parent) => {
  const node = document.createElementNS(NS, name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  if (parent) parent.appendChild(node);
  return node;
};
const date = (s, long) => new Date(s * 1000).toISOString().slice(0, long ? 16 : 10).replace("T", " ");
const digits = v => v === 0 ? "0" : Math.abs(v) >= 1000 ? v.toLocaleString("en", { maximumFractionDigits: 0 })
  : String(+v.toPrecision(4));
const show = (v, format) => format === "percent" ? (100 * v).toFixed(Math.abs(v) < 0.1 ? 2 : 1) + " %" : digits(v);
const short = (v, format) => {
  if (format === "percent") return +(100 * v).toPrecision(3) + " %";
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]])
    if (Math.abs(v) >= size * (unit === "k" ? 10 : 1)) return +(v / size).toPrecision(3) + unit;
  return String(+v.toPrecision(3));
};
function ticks(low, high, count) {
  const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(m => m * power).find(s => s >= raw), out = [];
  for (let t = Math.ceil(low / step) * step; t <= high + step * 1e-9; t += step) out.push(Math.abs(t) < step * 1e-9 ? 0 : t);
  return out;
}
function logTicks(low, high) {
  const wide = high / low > 300, out = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++)
    for (const m of wide ? [1] : [1, 2, 5]) { const t = m * 10 ** e; if (t >= low && t <= high) out.push(t); }
  return out;
}
function timeTicks(low, high) {
  const days = (high - low) / 86400, out = [];
  const months = days > 3000 ? 12 : days > 1200 ? 6 : days > 500 ? 3 : days > 120 ? 1 : 0;
  if (!months) {
    const step = 86400 * Math.max(1, Math.ceil(days / 8));
    for (let t = Math.ceil(low / step) * step; t <= high; t += step) out.push([t, date(t).slice(5)]);
    return out;
  }
  const d = new Date(low * 1000);
  for (let k = d.getUTCFullYear() * 12; ; k += months) {
    const t = Date.UTC(Math.floor(k / 12), k % 12) / 1000;
    if (t > high) return out;
    if (t >= low) out.push([t, k % 12 ? date(t).slice(0, 7) : date(t).slice(0, 4)]);
  }
}
function first(xs, value) {
  let a = 0, b = xs.length;
  while (a < b) { const m = (a + b) >> 1; if (xs[m] < value) a = m + 1; else b = m; }
  return a;
}
function make(box, chart) {
  const names = chart.x === "category" ? [...new Set(chart.series.flatMap(s => s.x))] : null;
  const place = names ? name => names.indexOf(name) : v => v;
  const series = chart.series.map(s => ({ ...s, at: s.x.map(place), on: true }));
  const bars = series.filter(s => s.kind === "bars");
  const all = series.flatMap(s => [s.at[0], s.at[s.at.length - 1]]).filter(v => v !== undefined);
  let full = names ? [-0.6, names.length - 0.4] : [Math.min(...all), Math.max(...all)];
  if (!names && bars.length) { const w = (bars[0].at[1] - bars[0].at[0]) || 1; full = [full[0] - w / 2, full[1] + w / 2]; }
  let view = full.slice();
  const H = Math.round(250 * chart.height) + PAD.top + PAD.bottom + (chart.x_label ? 16 : 0);
  const bottom = H - PAD.bottom - (chart.x_label ? 16 : 0), right = W - PAD.right;
  const head = document.createElement("h3"); head.textContent = chart.title; box.appendChild(head);
  const legend = document.createElement("div"); legend.className = "legend"; box.appendChild(legend);
  const svg = el("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": chart.title }); box.appendChild(svg);
  const tip = document.createElement("div"); tip.className = "tip"; box.appendChild(tip);
  series.forEach(s => {
    if (!s.name) return;
    const b = document.createElement("button");
    b.innerHTML = "<i></i>"; b.firstChild.style.background = colourOf(s); b.append(s.name);
    b.onclick = () => { s.on = !s.on; b.classList.toggle("off", !s.on); draw(); };
    legend.appendChild(b);
  });
  if (!names) { const hint = document.createElement("span"); hint.className = "hint"; hint.textContent = "drag to zoom, double click for all"; legend.appendChild(hint); }
  const X = v => PAD.left + (v - view[0]) / (view[1] - view[0]) * (right - PAD.left);
  let Y = v => v;
  function reach() {
    let low = Infinity, high = -Infinity;
    const take = v => { if (v < low) low = v; if (v > high) high = v; };
    series.filter(s => s.on).forEach(s => {
      for (let k = 0; k < s.at.length; k++) {
        if (s.at[k] < view[0] || s.at[k] > view[1] || (chart.log && s.y[k] <= 0)) continue;
        take(s.y[k]); if (s.y2) take(s.y2[k]);
      }
      if (s.kind === "bars") take(0);
    });
    if (names) chart.lines.forEach(l => take(l[0]));
    if (low === Infinity) return [0, 1];
    if (chart.log) return [low / 1.06, high * 1.06];
    const pad = (high - low || Math.abs(high) || 1) * 0.05;
    return [low === 0 && bars.length ? 0 : low - pad, high + pad];
  }
  function draw() {
    svg.replaceChildren();
    const [low, high] = reach(), f = chart.log ? Math.log : v => v;
    Y = v => bottom - (f(v) - f(low)) / (f(high) - f(low)) * (bottom - PAD.top);
    const id = "c" + Math.random().toString(36).slice(2);
    el("rect", { x: PAD.left, y: PAD.top, width: right - PAD.left, height: bottom - PAD.top }, el("clipPath", { id }, el("defs", {}, svg)));
    const label = (x, y, text, anchor, colour) => { const t = el("text", { x, y, "text-anchor": anchor, "font-size": 12, fill: colour || FAINT }, svg); t.textContent = text; return t; };
    for (const t of chart.log ? logTicks(low, high) : ticks(low, high, 5 * Math.max(0.7, chart.height))) {
      el("line", { x1: PAD.left, x2: right, y1: Y(t), y2: Y(t), stroke: GRID }, svg);
      label(PAD.left - 6, Y(t) + 4, short(t, chart.y), "end");
    }
    const below = names ? names.map((n, k) => [k, n]) : chart.x === "time" ? timeTicks(...view) : ticks(view[0], view[1], 8).map(t => [t, short(t)]);
    for (const [t, text] of below) {
      if (!names) el("line", { x1: X(t), x2: X(t), y1: PAD.top, y2: bottom, stroke: GRID }, svg);
      label(X(t), bottom + 16, text, "middle", names ? INK : FAINT);
    }
    el("line", { x1: PAD.left, x2: right, y1: bottom, y2: bottom, stroke: FAINT }, svg);
    if (chart.x_label) label((PAD.left + right) / 2, H - 6, chart.x_label, "middle", INK);
    if (chart.y_label) { const t = label(0, 0, chart.y_label, "middle", INK); t.setAttribute("transform", `translate(12 ${(PAD.top + bottom) / 2}) rotate(-90)`); }
    const inner = el("g", { "clip-path": `url(#${id})` }, svg);
    for (const [y] of chart.lines) el("line", { x1: PAD.left, x2: right, y1: Y(y), y2: Y(y), stroke: FAINT }, inner);
    [...series].reverse().forEach(s => { if (s.on) one(inner, s); });
    for (const [x, text] of chart.marks) {
      el("line", { x1: X(x), x2: X(x), y1: PAD.top, y2: bottom, stroke: INK, "stroke-dasharray": "5 4", "stroke-width": 1.4 }, inner);
      const t = el("text", { x: X(x) + 5, y: PAD.top + 12, "font-size": 12, fill: INK }, inner); t.textContent = text;
    }
    el("line", { class: "cross", y1: PAD.top, y2: bottom, stroke: FAINT, visibility: "hidden" }, svg);
    el("rect", { class: "drag", y: PAD.top, height: bottom - PAD.top, fill: "#0072b2", opacity: 0.12, visibility: "hidden" }, svg);
  }
  function one(g, s) {
    const c = colourOf(s), a = Math.max(0, first(s.at, view[0]) - 1), b = names ? s.at.length : Math.min(s.at.length, first(s.at, view[1]) + 2);
    const y = v => chart.log && v <= 0 ? bottom + 50 : Y(v);
    if (s.kind === "bars") {
      const n = names ? bars.length : 1, k = names ? bars.indexOf(s) : 0;
      const step = names ? 0.8 / n : (s.at[1] - s.at[0]) || 1;
      for (let i = 0; i < s.at.length; i++) {
        const x0 = s.at[i] + (names ? (k - n / 2) * step : -step / 2), y0 = Y(0), y1 = Y(s.y[i]);
        el("rect", { x: X(x0) + 0.5, width: Math.max(1, X(x0 + step) - X(x0) - 1), y: Math.min(y0, y1), height: Math.abs(y1 - y0), fill: c, opacity: s.opacity }, g);
      }
    } else if (s.kind === "band" && names) {
      for (let i = 0; i < s.at.length; i++) el("line", { x1: X(s.at[i]), x2: X(s.at[i]), y1: Y(s.y[i]), y2: Y(s.y2[i]), stroke: c, "stroke-width": 8, "stroke-linecap": "round", opacity: 0.6 }, g);
    } else if (s.kind === "band") {
      let d = "";
      for (let i = a; i < b; i++) d += (i > a ? "L" : "M") + X(s.at[i]).toFixed(1) + " " + y(s.y[i]).toFixed(1);
      for (let i = b - 1; i >= a; i--) d += "L" + X(s.at[i]).toFixed(1) + " " + y(s.y2[i]).toFixed(1);
      el("path", { d: d + "Z", fill: c, opacity: s.opacity }, g);
    } else if (s.kind === "points") {
      for (let i = 0; i < s.at.length; i++) el("circle", { cx: X(s.at[i]), cy: y(s.y[i]), r: 5.5, fill: c, stroke: "#fff" }, g);
    } else if (s.kind === "up" || s.kind === "down") {
      const r = b - a > 400 ? 3 : 5, v = s.kind === "up" ? 1 : -1;
      let d = "";
      for (let i = a; i < b; i++) { const px = X(s.at[i]), py = y(s.y[i]); d += `M${(px - r).toFixed(1)} ${(py + v * r).toFixed(1)}h${2 * r}l${-r} ${-2 * v * r}z`; }
      el("path", { d, fill: c, opacity: s.opacity }, g);
    } else {
      let d = "";
      for (let i = a; i < b; i++) {
        const px = X(s.at[i]).toFixed(1), py = y(s.y[i]).toFixed(1);
        d += i === a ? `M${px} ${py}` : s.kind === "step" ? `H${px}V${py}` : `L${px} ${py}`;
      }
      el("path", { d, fill: "none", stroke: c, "stroke-width": s.width * 1.2, opacity: s.opacity, "stroke-linejoin": "round" }, g);
    }
  }
  const at = e => { const r = svg.getBoundingClientRect(); return (e.clientX - r.left) / r.width * W; };
  const value = x => view[0] + (Math.min(Math.max(x, PAD.left), right) - PAD.left) / (right - PAD.left) * (view[1] - view[0]);
  let from = null;
  svg.onpointerdown = e => { if (!names) { from = at(e); svg.setPointerCapture(e.pointerId); } };
  svg.onpointerup = e => {
    if (from === null) return;
    const a = value(Math.min(from, at(e))), b = value(Math.max(from, at(e))), wide = Math.abs(at(e) - from) > 8;
    from = null;
    if (wide) view = [a, b];
    draw();
  };
  svg.ondblclick = () => { view = full.slice(); draw(); };
  svg.onpointerleave = () => { tip.style.display = "none"; svg.querySelector(".cross").setAttribute("visibility", "hidden"); };
  svg.onpointermove = e => {
    const x = at(e), v = names ? Math.round(value(x)) : value(x);
    if (from !== null) {
      const drag = svg.querySelector(".drag");
      drag.setAttribute("visibility", "visible"); drag.setAttribute("x", Math.min(from, x)); drag.setAttribute("width", Math.abs(x - from));
    }
    const lines = [];
    let spot = null;
    series.forEach(s => {
      if (!s.on || !s.at.length || (s.kind === "up" || s.kind === "down") || (!s.name && s.colour === -2)) return;
      let k = names ? s.at.indexOf(v) : Math.min(first(s.at, v), s.at.length - 1);
      if (k < 0) return;
      if (!names && k > 0 && v - s.at[k - 1] < s.at[k] - v) k--;
      if (spot === null) spot = s.at[k];
      const text = s.y2 ? `${show(s.y[k], chart.y)} to ${show(s.y2[k], chart.y)}` : show(s.y[k], chart.y);
      lines.push(`<span style="color:${colourOf(s)}">■</span> ${s.name ? s.name.replace(/&/g, "&amp;").replace(/</g, "&lt;") + ": " : ""}${text}`);
    });
    if (spot === null) return;
    const title = names ? names[spot] : chart.x === "time" ? date(spot, true) : digits(spot);
    tip.innerHTML = `<b>${String(title).replace(/&/g, "&amp;").replace(/</g, "&lt;")}</b><br>${lines.join("<br>")}`;
    tip.style.display = "block";
    const r = svg.getBoundingClientRect(), px = X(spot) / W * r.width;
    tip.style.left = (px > r.width * 0.6 ? px - tip.offsetWidth - 12 : px + 12) + "px";
    tip.style.top = svg.offsetTop + 14 + "px";
    const cross = svg.querySelector(".cross");
    cross.setAttribute("x1", X(spot)); cross.setAttribute("x2", X(spot)); cross.setAttribute("visibility", "visible");
  };
  draw();
}
document.querySelectorAll(".chart").forEach(box => make(box, REPORT.charts[+box.dataset.chart]));
