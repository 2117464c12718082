"use strict";

const folds = () => [...document.querySelectorAll("details:not(.explorer details)")];

// Open everything that is folded before the page is printed.
addEventListener("beforeprint", () => folds().forEach((fold) => { fold.open = true; }));

// A link to a section of which all but the beginning is folded opens the fold.
const unfoldTarget = () => {
  const fold = document.getElementById(decodeURIComponent(location.hash.slice(1)))?.closest("section")?.querySelector(":scope > details");
  if (fold) fold.open = true;
};
addEventListener("hashchange", unfoldTarget);

// While a sweep runs, reload the page from time to time. The browser keeps the place, `history.state` what is unfolded.
function reloadWhileRunning(progress) {
  const MOST_MINUTES = 30; // between two reports, unless runs take very long
  const updated = new Date(progress.querySelector("time").dateTime);
  if (Date.now() - updated > MOST_MINUTES * 60_000) progress.querySelector("span").textContent = progress.dataset.silent;
  setInterval(() => {
    if (document.activeElement.closest(".explorer")) return; // somebody is at work there
    history.replaceState({ open: folds().map((fold) => fold.open) }, "");
    location.reload();
  }, progress.dataset.seconds * 1000);
}

folds().forEach((fold, i) => { fold.open ||= history.state?.open[i] ?? false; });
unfoldTarget();
const progress = document.querySelector(".progress");
if (progress) reloadWhileRunning(progress);
