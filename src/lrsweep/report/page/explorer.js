// Draw the interactive chart. Describe the slider's effect in words for screen readers, to which its position means nothing.
"use strict";

async function explore() {
  const spec = JSON.parse(document.getElementById("explorer-spec").textContent);
  const options = { ast: true, actions: false, bind: "#explorer-controls", tooltip: { disableDefaultStyle: true } };
  const { view } = await vegaEmbed("#explorer-chart", spec, options);
  const slider = document.querySelector("#explorer-controls input[type=range]");
  const describe = () => {
    const lines = [...document.querySelectorAll("#explorer-chart .answer_group text")];
    slider.setAttribute("aria-valuetext", lines[0].textContent);
    document.getElementById("explorer-answer").textContent = lines.map((line) => line.textContent).join(" ");
  };
  slider.addEventListener("input", async () => {
    await view.runAsync(); // wait until the chart has drawn the new text
    describe();
  });
  describe();
}

explore();
