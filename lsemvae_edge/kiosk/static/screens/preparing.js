/** Which recorder, and how to hold it. */

import { el, icon, reveal, say } from "../dom.js";
import { t } from "../strings.js";
import { backButton } from "./entering.js";
import { acts, choice, drawing, screen } from "./parts.js";

const STEP_MS = 5000;

/** Choose a recorder that is enrolled here. */
export function recorder(state, kiosk) {
  const list = el("div", { class: "choices", "data-testid": "recorders" });
  const none = el("p", { class: "none", role: "status" });
  const made = screen("recorder", {
    title: t("Choose the recorder"),
    content: [list, none],
    actions: [
      acts(kiosk, "cancel", t("Cancel"), { symbol: "off" }),
      acts(kiosk, "find", t("Look again"), { symbol: "look" }),
    ],
  });
  const back = () => kiosk.act("back");
  made.heading.before(backButton(back));
  let shown = "";
  const update = (next) => {
    reveal(none, next.looking || !next.recorders.length);
    if (next.looking) say(none, t("Looking for recorders …"));
    else if (!next.recorders.length) say(none, t("No recorder is enrolled here. Ask whoever looks after this kiosk."));
    const now = JSON.stringify(next.recorders);
    if (now === shown) return;
    shown = now;
    list.replaceChildren(...next.recorders.map((one) => recorderButton(one, kiosk)));
    list.querySelector("button")?.focus();
  };
  return { ...made, update, escape: back };
}

/** How to hold it, in four drawings that follow each other. */
export function hold(state, kiosk) {
  const steps = [
    ["moisten", t("Moisten the skin where it touches the recorder.")],
    ["hold", t("Sit. Both hands hold the recorder on the left knee, on bare skin.")],
    ["sides", t("Swap check: left hand on L, right hand on R.")],
    ["still", t("Keep still. Do not talk. Breathe calmly.")],
  ];
  const picture = el("div", { class: "picture" });
  const tabs = steps.map(([name, says], index) =>
    el("button", {
      type: "button",
      class: "step",
      text: String(index + 1),
      "aria-label": says,
      "data-testid": `step-${name}`,
      onclick: () => show(index, true),
    }),
  );
  const made = screen("hold", {
    title: "",
    content: [picture, el("nav", { class: "step-list", "aria-label": t("Steps") }, ...tabs)],
    actions: [
      acts(kiosk, "cancel", t("Cancel"), { symbol: "off" }),
      acts(kiosk, "begin", t("Begin the recording"), { kind: "primary", symbol: "heart", "data-focus": true }),
    ],
  });
  made.heading.dataset.testid = "hold-words";
  made.heading.setAttribute("aria-live", "polite");
  const pictures = steps.map(([name, says]) => drawing(name, says));
  const draft = kiosk.draft;
  const show = (index, isChosen) => {
    draft.at = index;
    draft.isChosen ||= isChosen;
    picture.replaceChildren(pictures[index]);
    say(made.heading, steps[index][1]);
    tabs.forEach((tab, each) => tab.setAttribute("aria-current", each === index ? "step" : "false"));
  };
  show(draft.at || 0, false);
  const ticking = setInterval(() => {
    if (!draft.isChosen && document.visibilityState === "visible") show((draft.at + 1) % steps.length, false);
  }, STEP_MS);
  const back = () => kiosk.act("back");
  made.heading.before(backButton(back));
  return { ...made, escape: back, close: () => clearInterval(ticking) };
}

function recorderButton(one, kiosk) {
  const range = { true: ["ok", t("In range")], false: ["off", t("Not in range")], null: ["unknown", t("Not looked for yet")] };
  const [symbol, word] = range[String(one.in_range)];
  const made = choice(one.name, () => kiosk.act("choose", { address: one.address }), { "data-testid": "choose" });
  made.append(
    el("span", { class: "address", text: one.address }),
    el("span", { class: `state ${symbol}` }, icon(symbol), el("span", { text: word })),
  );
  if (one.simulated) made.append(el("span", { class: "tag", text: t("Simulated") }));
  return made;
}
