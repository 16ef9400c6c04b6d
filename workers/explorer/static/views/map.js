// The latent map: every item with a code as a point.

import { announce, h, heading, isolated, itemLink, quiet, visible } from "../dom.js";
import { go } from "../main.js";
import { categoryColour, otherColour, palette, ramp } from "../palette.js";
import { Scatter } from "../scatter.js";
import { ask, askBytes } from "../server.js";
import { figure, plural, time } from "../words.js";

const WAIT_MS = 500;
const STEP = 60;
const KEYS = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };

export async function map(container, { by }, signal) {
  const facts = h("p", { class: "quiet", role: "status" }, "Reading…");
  container.append(h("div", { class: "title" }, heading("Latent map"), facts));
  let state = await ask("/api/map", null, signal);
  while (!state.map) {
    facts.textContent = state.problem ? visible(state.problem) : `Codes are being read: ${Math.round(100 * state.reading)} %`;
    await new Promise((resolve) => { setTimeout(resolve, WAIT_MS); });
    if (signal.aborted) return;
    state = await ask("/api/map", null, signal);
  }
  facts.textContent = `${plural(state.points, "item")}, model ${state.model}, laid out ${time(state.made_at)}`;
  if (!state.points) {
    container.append(quiet("No item has a code yet."));
    return;
  }
  const names = state.colours.map((scale) => scale.name);
  const select = h("select", { id: "by" }, names.map((name) => h("option", { value: name, selected: name === by }, visible(name))));
  const search = h("input", { id: "text", name: "text", maxlength: 256, autocomplete: "off", spellcheck: "false" });
  const found = h("ul", { class: "found", "aria-label": "Found" });
  const told = h("div", { class: "told", role: "status" });
  const box = h("div", {
    class: "map", tabindex: "0", role: "application", "aria-roledescription": "map",
    "aria-label": "Map of items. Arrow keys move it, plus and minus zoom, 0 shows all, Enter opens the item in the middle. The search finds items without it.",
  }, told);
  const legend = h("ul", { class: "scale", "aria-label": "What the colours mean" });
  container.append(
    h("div", { class: "tools" },
      names.length ? h("div", {}, h("label", { for: "by" }, "Colour by "), select) : "",
      h("form", { role: "search", "aria-label": "Items on the map", onsubmit: searching }, h("label", { for: "text" }, "Find"), search, h("button", {}, "Find")),
      h("div", { class: "buttons" }, button("Zoom in", "+", () => plot.zoom(1.6)), button("Zoom out", "−", () => plot.zoom(1 / 1.6)), button("Show all", "All", () => plot.look(plot.home)))),
    box, legend, found);

  // Asked for first: to begin drawing takes as long as the answers do.
  const answers = Promise.all([askBytes("/api/map/points", { map: state.map }, signal), levelsOf(chosen())]);
  const marks = [];
  const plot = new Scatter(box, () => marks.forEach(({ element, x, y }) => {
    const pixel = plot.pixel(x, y);
    element.style.transform = `translate(${pixel.x}px, ${pixel.y}px)`;
  }));
  signal.addEventListener("abort", () => plot.close());
  const [x, y, half] = state.view;
  const [places, levels] = await answers;
  plot.set(new Float32Array(places), { x, y, half });
  colour(levels);
  box.dataset.points = plot.count;
  container.dataset.ready = "yes";

  select.addEventListener("change", () => {
    history.replaceState(null, "", `/map?${new URLSearchParams({ by: select.value })}`);
    recolour();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour, { signal });
  new ResizeObserver(() => plot.resize()).observe(box);
  hands(box, plot, (pixelX, pixelY, open) => orTold(point(plot.nearest(pixelX, pixelY), open)));

  // What a hand asked for and did not get is said on the map.
  function orTold(answer) {
    answer.catch((error) => { if (!signal.aborted) told.textContent = error.message; });
  }

  function recolour() {
    orTold(levelsOf(chosen()).then((bytes) => { if (!signal.aborted) colour(bytes); }));
  }

  function chosen() {
    return state.colours.find((one) => one.name === select.value);
  }

  function levelsOf(scale) {
    return scale ? askBytes("/api/map/colours", { map: state.map, by: scale.name }, signal) : Promise.resolve(new ArrayBuffer(state.points));
  }

  function colour(bytes) {
    const scale = chosen();
    plot.colour(new Uint8Array(bytes), palette(scale));
    legend.replaceChildren(...(scale ? legendOf(scale) : []));
  }

  async function point(number, open) {
    if (number < 0) {
      told.textContent = "";
      return;
    }
    const one = await ask("/api/map/item", { map: state.map, point: number }, signal);
    if (open) go(`/item?${new URLSearchParams({ id: one.item_id })}`);
    else told.replaceChildren(isolated(one.title || one.item_id));
  }

  function searching(event) {
    event.preventDefault();
    event.stopPropagation();
    if (search.value.trim()) orTold(searched());
  }

  async function searched() {
    const hits = await ask("/api/map/search", { map: state.map, text: search.value.trim() }, signal);
    marks.splice(0).forEach(({ element }) => element.remove());
    for (const hit of hits) {
      const element = h("span", { class: "mark" });
      box.append(element);
      marks.push({ element, x: hit.x, y: hit.y });
    }
    found.replaceChildren(...hits.map((hit) => h("li", {}, itemLink(hit.item_id, hit.title))));
    if (hits.length === 1) plot.look({ x: hits[0].x, y: hits[0].y, half: plot.home.half / 4 });
    else plot.look(plot.home);
    announce(hits.length ? `${plural(hits.length, "item")} found` : "Nothing found");
    if (!hits.length) found.replaceChildren(h("li", {}, "Nothing found."));
  }
}

function button(label, text, onclick) {
  return h("button", { type: "button", "aria-label": label, onclick }, text);
}

// Pointer, wheel and keys. `pick` is told a pixel, and whether to open what is there.
function hands(box, plot, pick) {
  const held = new Map();
  let travelled = 0;
  let hovering = 0;
  const within = (event) => {
    const corner = box.getBoundingClientRect();
    return [event.clientX - corner.left, event.clientY - corner.top];
  };
  box.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    box.setPointerCapture(event.pointerId);
    held.set(event.pointerId, within(event));
    plot.hold(true);
    travelled = 0;
  });
  box.addEventListener("pointermove", (event) => {
    const [x, y] = within(event);
    if (!held.has(event.pointerId)) {
      clearTimeout(hovering);
      hovering = setTimeout(() => pick(x, y, false), 80);
      return;
    }
    const [oldX, oldY] = held.get(event.pointerId);
    const other = [...held].find(([id]) => id !== event.pointerId)?.[1];
    travelled += Math.abs(x - oldX) + Math.abs(y - oldY);
    if (other) plot.zoom(Math.hypot(x - other[0], y - other[1]) / Math.max(Math.hypot(oldX - other[0], oldY - other[1]), 1), ...other);
    else plot.pan(x - oldX, y - oldY);
    held.set(event.pointerId, [x, y]);
  });
  const release = (event) => {
    if (!held.delete(event.pointerId)) return;
    plot.hold(held.size > 0);
    if (event.type === "pointerup" && event.button === 0 && travelled < 5) pick(...within(event), true);
  };
  box.addEventListener("pointerup", release);
  box.addEventListener("pointercancel", release);
  box.addEventListener("pointerleave", () => clearTimeout(hovering));
  box.addEventListener("wheel", (event) => {
    event.preventDefault();
    plot.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...within(event));
  }, { passive: false });
  box.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (KEYS[event.key]) plot.pan(...KEYS[event.key]);
    else if (event.key === "+" || event.key === "=") plot.zoom(1.4);
    else if (event.key === "-") plot.zoom(1 / 1.4);
    else if (event.key === "0") plot.look(plot.home);
    else if (event.key === "Enter") pick(box.clientWidth / 2, box.clientHeight / 2, true);
    else return;
    event.preventDefault();
    if (event.key !== "Enter") pick(box.clientWidth / 2, box.clientHeight / 2, false);
  });
}

function legendOf(scale) {
  if (scale.kind === "category") {
    return [...scale.labels.map((label, place) => swatch(categoryColour(place), label)), swatch(otherColour, "other or none")];
  }
  const strip = h("canvas", { width: 128, height: 1, "aria-hidden": "true" });
  const context = strip.getContext("2d");
  for (let at = 0; at < 128; at += 1) {
    context.fillStyle = `rgb(${ramp(at / 127).join(",")})`;
    context.fillRect(at, 0, 1, 1);
  }
  return [h("li", {}, figure(scale.low, 3), strip, `${figure(scale.high, 3)} or more`), swatch(otherColour, "none")];
}

function swatch(colour, text) {
  const dot = h("span", { class: "dot", "aria-hidden": "true" });
  dot.style.background = colour;
  return h("li", {}, dot, isolated(text));
}
