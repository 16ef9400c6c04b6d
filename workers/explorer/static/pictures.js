// Features as a picture.

import { h, svg } from "./dom.js";

const LARGE = 224;
const SHOWN = 256;

// Values in [0, 1] of shape [height, width] or [height, width, channels].
export function imageOf(values, [height, width, channels = 1], label) {
  const canvas = h("canvas", { width, height, role: "img", "aria-label": label });
  const pixels = new ImageData(width, height);
  for (let at = 0; at < width * height; at += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      pixels.data[4 * at + channel] = 255 * values[at * channels + (channels < 3 ? 0 : channel)];
    }
    pixels.data[4 * at + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  canvas.style.width = `${Math.max(LARGE, width)}px`;
  return canvas;
}

// Bars: filled of what was decoded, outlined of what was given. Either may be null.
export function vectorOf(given, made) {
  const size = Math.min((given || made).length, SHOWN);
  const all = [...(given || []).slice(0, size), ...(made || []).slice(0, size), 0];
  const low = Math.min(...all);
  const span = Math.max(...all) - low || 1;
  const step = Math.max(3, Math.min(48, Math.floor(760 / size)));
  const picture = svg("svg", { class: "vector", viewBox: `0 0 ${step * size} 160`, width: step * size, role: "img", "aria-label": "Features, original and decoded" });
  const bars = (values, name) => values && values.slice(0, size).forEach((value, at) => {
    const top = 158 - ((Math.max(value, 0) - low) / span) * 156;
    const bottom = 158 - ((Math.min(value, 0) - low) / span) * 156;
    picture.append(svg("rect", { class: name, x: at * step + 1, width: Math.max(step - 2, 1), y: top, height: Math.max(bottom - top, 1) }));
  });
  bars(made, "made");
  bars(given, "given");
  return picture;
}
