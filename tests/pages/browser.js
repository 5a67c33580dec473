// Chromium with a profile of its own, which is empty and thrown away; it calls nobody by itself.
"use strict";
const { chromium } = require("playwright-core");

module.exports = (executablePath) => chromium.launch({
  executablePath,
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});
