// Draws the explorer, and says in words what its slider does; opens what is folded before the page is printed.
"use strict";

async function explore() {
  const spec = JSON.parse(document.getElementById("explorer-spec").textContent);
  const options = { ast: true, actions: false, bind: "#explorer-controls", tooltip: { disableDefaultStyle: true } };
  const { view } = await vegaEmbed("#explorer-chart", spec, options);
  const slider = document.querySelector("#explorer-controls input[type=range]");
  const say = () => {
    const lines = [...document.querySelectorAll("#explorer-chart .answer_group text, #explorer-chart .answer text")];
    slider.setAttribute("aria-valuetext", lines[0].textContent);
    document.getElementById("explorer-answer").textContent = lines.map((line) => line.textContent).join(" ");
  };
  view.addSignalListener("price", () => view.runAfter(say));
  say();
}

if (document.getElementById("explorer-spec")) explore();
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((fold) => { fold.open = true; }));
