// Open everything that is folded before the page is printed.
"use strict";

addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((fold) => { fold.open = true; }));
