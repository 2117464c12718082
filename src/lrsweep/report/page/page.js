// Opens what is folded before the page is printed: paper cannot be clicked.
"use strict";

addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((fold) => { fold.open = true; }));
