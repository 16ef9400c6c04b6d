// The experiment that runs: champion and challenger.

import { card, h, heading, isolated, pairs, quiet, table } from "../dom.js";
import { ask } from "../server.js";
import { count, figure } from "../words.js";

const ARMS = ["control", "challenger"];

export async function experiments(container, parameters, signal) {
  container.append(h("div", { class: "title" }, heading("Experiments")));
  const found = await ask("/api/experiment", null, signal);
  if (!found) {
    container.append(card("None runs", quiet("latentstream experiment start VERSION --share 0.1 serves a tenth of the users by another model; with --shadow it only makes lists that nobody gets.")));
    return;
  }
  const share = `${figure(100 * found.share, 3)} % of the users`;
  container.append(card(found.name, pairs([
    ["Control", h("span", {}, link(found.control), ` ${found.shadow ? "" : `${figure(100 - 100 * found.share, 3)} % of the users`}`)],
    ["Challenger", h("span", {}, link(found.challenger), ` ${share}${found.shadow ? ", whose lists nobody gets" : ""}`)],
    ["Started", h("span", {}, found.started_at || "not told", " by ", isolated(found.started_by || "somebody"))],
    ["Live", found.live_at || `not yet: ${Math.round(100 * found.encoded)} % of the items encoded`],
  ])));
  const profiles = Object.entries(found.profiles);
  if (!profiles.length) container.append(quiet("Nothing is counted yet: users touch items that they did not have before."));
  for (const [name, profile] of profiles) {
    container.append(card(`Profile ${name}`, table(`Profile ${name}`,
      [{ name: "" }, ...ARMS.map((arm) => ({ name: arm, class: "number" })), { name: "difference (95 %)", class: "number" }, { name: "p", class: "number" }],
      [["interactions", ...ARMS.map((arm) => count(profile.judged[arm])), "", ""],
        ...Object.entries(profile.figures).map(([figureName, one]) => [figureName.replaceAll("_", " "),
          ...ARMS.map((arm) => estimate(one[arm])), estimate(one.difference, true), one.p_value === null ? "" : figure(one.p_value, 2)]),
        [`items in ${count(profile.lists)} lists`, ...ARMS.map((arm) => count(profile.listed[arm])), "", ""]])));
  }
  container.append(quiet("Users are the unit of the intervals. They hold for one look at a time that was chosen beforehand."));
}

function link(version) {
  return h("a", { href: `/models?${new URLSearchParams({ version })}` }, version);
}

function estimate({ value, low, high }, signed = false) {
  if (value === null) return "–";
  const sign = signed && value > 0 ? "+" : "";
  return low === null ? `${sign}${figure(value)}` : `${sign}${figure(value)} (${figure(low, 3)} to ${figure(high, 3)})`;
}
