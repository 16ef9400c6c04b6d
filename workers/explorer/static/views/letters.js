// What could not be processed, why, and how to publish it again.

import { card, command, h, heading, isolated, quiet, table, visible } from "../dom.js";
import { ask } from "../server.js";
import { count, moment, plural } from "../words.js";

export async function letters(container, { reason, topic }, signal) {
  container.append(h("div", { class: "title" }, heading("Dead letters")));
  const told = quiet("Read from the topic…");
  container.append(told);
  const found = await ask("/api/dead-letters", null, signal);
  if (!found.letters.length) {
    told.textContent = "There are none: all events could be processed.";
    return;
  }
  told.remove();
  const reasons = counted(found.letters.map((letter) => letter.reason));
  const shown = found.letters.filter((letter) => (!reason || letter.reason === reason) && (!topic || letter.topic === topic));
  container.append(
    card("After a fix", h("p", { class: "quiet" }, "Publishes the events again, but for what something newer has overtaken:"),
      h("p", {}, command(found.replay)),
      reason && found.replay_reason[reason] ? h("p", {}, command(found.replay_reason[reason])) : ""),
    card("Reasons", h("nav", { class: "tabs", "aria-label": "Reasons" },
      h("a", { href: "/dead-letters", "aria-current": reason ? undefined : "true" }, `all (${count(found.letters.length)})`),
      reasons.map(([name, number]) => h("a", { href: `/dead-letters?${new URLSearchParams({ reason: name })}`, "aria-current": reason === name ? "true" : undefined },
        isolated(name || "not told"), ` (${count(number)})`)))),
    card(`The newest ${plural(shown.length, "letter")}`, table("Dead letters",
      [{ name: "Written" }, { name: "Reason" }, { name: "Event" }, { name: "Key" }, { name: "Value" }],
      shown.map((letter) => [
        moment(letter.written_at),
        h("div", {}, h("strong", {}, isolated(letter.reason)), h("div", {}, isolated(letter.message))),
        h("div", {}, isolated(letter.topic), ` ${letter.partition} ${letter.offset}`, h("div", {}, command(letter.show))),
        letter.key === null ? "null" : isolated(letter.key),
        letter.value_start === null ? "null" : h("details", {}, h("summary", {}, plural(letter.value_bytes, "byte")), h("code", {}, visible(letter.value_start))),
      ]))));
}

function counted(names) {
  const counts = new Map();
  for (const name of names) counts.set(name, (counts.get(name) || 0) + 1);
  return [...counts].sort((one, other) => other[1] - one[1]);
}
