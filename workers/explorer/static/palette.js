// Colours of levels: 256 of them, RGBA. They are told apart on light and on dark, and by most who see fewer colours.

const CATEGORIES = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#e07b39", "#44aa99", "#9b8ade", "#8c6d46"];
const RAMP_LIGHT = ["#c9d9d6", "#7fb8ae", "#2f8f83", "#5b5fa8", "#8a2d6d", "#c2183a"];
const RAMP_DARK = ["#2c4440", "#2f7d73", "#4fc0b0", "#a7b6f0", "#e59ad2", "#ff8a8a"];
const NOTHING = "#9aa5a3";

function rgb(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

export function isDark() {
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

export function categoryColour(place) {
  return CATEGORIES[place % CATEGORIES.length];
}

export const otherColour = NOTHING;

export function palette(scale) {
  const levels = new Uint8Array(4 * 256);
  const put = (level, [red, green, blue], alpha = 255) => levels.set([red, green, blue, alpha], 4 * level);
  put(0, rgb(NOTHING));
  for (let level = 1; level < 256; level += 1) {
    if (!scale) put(level, rgb("#2f8f83"));
    else if (scale.kind === "category") put(level, rgb(level === 1 ? NOTHING : categoryColour(level - 2)));
    else put(level, ramp((level - 1) / 254));
  }
  return levels;
}

export function ramp(share) {
  const stops = isDark() ? RAMP_DARK : RAMP_LIGHT;
  const place = share * (stops.length - 1);
  const first = Math.min(Math.floor(place), stops.length - 2);
  const [from, to] = [rgb(stops[first]), rgb(stops[first + 1])];
  return from.map((value, at) => Math.round(value + (to[at] - value) * (place - first)));
}
