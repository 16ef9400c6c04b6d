// Numbers and times in words.

const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
const DASH = "–";

export function count(value) {
  return value === null || value === undefined ? DASH : whole.format(value);
}

export function rate(value) {
  if (value === null || value === undefined) return DASH;
  return value > 0 && value < 10 ? value.toFixed(1) : whole.format(value);
}

export function figure(value, digits = 4) {
  return value === null || value === undefined ? DASH : String(Number(value.toPrecision(digits)));
}

export function size(bytes) {
  if (bytes === null || bytes === undefined) return DASH;
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) { bytes /= 1000; unit += 1; }
  return `${unit && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return DASH;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

export function time(unix) {
  return clock.format(unix * 1000);
}

export function moment(unix) {
  return unix === null || unix === undefined ? DASH : day.format(unix * 1000);
}

export function plural(number, one, several = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : several}`;
}
