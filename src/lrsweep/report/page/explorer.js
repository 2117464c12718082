// Draw the interactive chart, give its slider a scale, and list all runs in a table. Texts are only ever set as textContent.
"use strict";

const byId = (id) => document.getElementById(id);
const element = (tag, text, ...children) => {
  const made = document.createElement(tag);
  made.append(text, ...children);
  return made;
};

// The slider's scale, and the rate to use at its position in words; the position itself means nothing to a reader.
function describeSlider(losses, choices) {
  const slider = document.querySelector("#explorer-slider input");
  const scale = element("div", "", ...losses.map((loss) => element("span", loss)));
  scale.className = "scale";
  scale.ariaHidden = "true";
  slider.after(scale);
  const describe = () => {
    const { allowed, choice, why } = choices[slider.value];
    slider.setAttribute("aria-valuetext", allowed);
    byId("explorer-answer").replaceChildren(element("strong", choice), ` ${why}`);
  };
  slider.addEventListener("input", describe);
  describe();
}

// The spec holds the words in the page's language.
const spec = JSON.parse(byId("explorer-spec").textContent);
const word = (text) => spec.usermeta.words[text] ?? text;
const percent = (accuracy) => (accuracy === null ? word("none") : `${(accuracy * 100).toFixed(2)}%`);
const COLUMNS = [
  ["learning rate", "lr", (run) => run.rate],
  ["seed", "seed", (run) => `${run.seed}${run.look === "fresh seed" ? ` (${word("fresh")})` : ""}`],
  ["status", "status", (run) => word(run.status)],
  ["validation", "valid", (run) => percent(run.valid)],
  ["test", "test", (run) => percent(run.test)],
  ["epochs", "epochs", (run) => `${run.epochs}`],
  ["seconds", "seconds", (run) => (run.seconds === null ? word("not measured") : run.seconds.toFixed(1))],
];

// Rows are made when the table is first opened. A click on a heading sorts; a second click turns the order round.
function listRuns(runs, command) {
  const fold = byId("explorer-runs");
  const [filter, count, head, body] = ["input", "output", "thead tr", "tbody"].map((name) => fold.querySelector(name));
  const rowOf = (run) => {
    const again = element("code", `${command} optimizer.lr=${run.lr} seed=${run.seed}`);
    const settings = element("details", element("summary", word("settings")), again, element("div", `${word("record")}: ${run.id}`));
    return element("tr", "", ...COLUMNS.map(([, , show]) => element("td", show(run))), element("td", settings));
  };
  const rows = runs.map((run) => ({ run, row: null, text: COLUMNS.map(([, , show]) => show(run)).join(" ").toLowerCase() }));
  const show = () => {
    const words = filter.value.toLowerCase().split(" ");
    const shown = rows.filter(({ text }) => words.every((word) => text.includes(word)));
    body.replaceChildren(...shown.map((each) => (each.row ??= rowOf(each.run))));
    count.textContent = spec.usermeta.count.replace("{shown}", shown.length).replace("{total}", rows.length);
  };
  const sort = (field, heading) => {
    const sign = heading.ariaSort === "ascending" ? -1 : 1;
    for (const other of head.children) other.removeAttribute("aria-sort");
    heading.ariaSort = sign > 0 ? "ascending" : "descending";
    // Runs without a value come last.
    rows.sort(({ run: { [field]: a } }, { run: { [field]: b } }) => (a === null) - (b === null) || sign * ((a > b) - (a < b)));
    show();
  };
  for (const [name, field] of COLUMNS) {
    const button = element("button", word(name));
    const heading = element("th", button);
    button.addEventListener("click", () => sort(field, heading));
    head.append(heading);
  }
  head.append(element("th", word("settings")));
  filter.addEventListener("input", show);
  fold.addEventListener("toggle", () => body.children.length || show());
  fold.hidden = false;
}

async function explore() {
  listRuns([...spec.datasets.runs], spec.usermeta.command);
  const options = { ast: true, actions: false, bind: "#explorer-controls", tooltip: { disableDefaultStyle: true } };
  await vegaEmbed("#explorer-chart", spec, options);
  describeSlider(spec.usermeta.losses, spec.datasets.choices);
}

explore();
