// Small charts that grow at their right end.

import { h, svg } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 64;

// A line for each name of `names`, over the last `seconds`.
export function chart(label, names, seconds = 120) {
  const lines = names.map((_, place) => svg("polyline", { class: `line line-${place}` }));
  const areas = names.map((_, place) => svg("polygon", { class: `area area-${place}` }));
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label });
  picture.append(...areas, ...lines);
  const most = h("span", { class: "most" });
  const points = [];
  return {
    element: h("div", { class: "chart" }, picture, most),
    add(at, values) {
      points.push({ at, values });
      while (points.length > 2 && points[0].at < at - seconds) points.shift();
    },
    draw(shown = (value) => String(Math.round(value))) {
      const now = points.length ? points[points.length - 1].at : 0;
      const top = Math.max(1e-9, ...points.flatMap((point) => point.values.map((value) => value || 0)));
      lines.forEach((line, place) => {
        const drawn = points.filter((point) => point.values[place] !== null && point.values[place] !== undefined)
          .map((point) => [WIDTH - ((now - point.at) / seconds) * WIDTH, HEIGHT - 2 - (point.values[place] / top) * (HEIGHT - 8)]);
        line.setAttribute("points", drawn.map((pair) => pair.map((value) => value.toFixed(1)).join(",")).join(" "));
        const closed = drawn.length ? [[drawn[0][0], HEIGHT], ...drawn, [drawn[drawn.length - 1][0], HEIGHT]] : [];
        areas[place].setAttribute("points", closed.map((pair) => pair.map((value) => value.toFixed(1)).join(",")).join(" "));
      });
      most.textContent = top > 1e-6 ? `most ${shown(top)}` : "";
    },
  };
}
