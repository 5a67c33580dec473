// Looks at pages in Chromium, each at the given widths, light and dark, with and without script, and prints what is wrong
// as JSON: { looks, problems: [{ where, what }] }.
//
//   node look.js '{"base":"http://127.0.0.1:1","paths":["/"],"pictures":"folder or null","chromium":"/usr/bin/chromium"}'
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const launch = require("./browser");

const SIZES = { phone: { width: 360, height: 740 }, desktop: { width: 1280, height: 900 } };
const AXE = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const main = async () => {
  const asked = JSON.parse(process.argv[2]);
  const problems = [];
  let looks = 0;
  const browser = await launch(asked.chromium);
  try {
    for (const script of [true, false]) {
      for (const colorScheme of ["light", "dark"]) {
        for (const [size, viewport] of Object.entries(SIZES)) {
          const context = await browser.newContext({ viewport, colorScheme, javaScriptEnabled: script });
          for (const at of asked.paths) {
            looks += 1;
            const where = `${at} ${size} ${colorScheme} ${script ? "script" : "no script"}`;
            const say = (what) => problems.push({ where, what });
            const page = await context.newPage();
            page.setDefaultTimeout(60_000);
            page.on("console", (line) => { if (["error", "warning"].includes(line.type())) say(`console: ${line.text()}`); });
            page.on("pageerror", (error) => say(`error: ${error.message}`));
            page.on("dialog", async (dialog) => { say(`dialog: ${dialog.message()}`); await dialog.dismiss(); });
            page.on("request", (request) => {
              if (!request.url().startsWith(asked.base)) say(`asks elsewhere: ${request.url()}`);
            });
            const answer = await page.goto(asked.base + at, { waitUntil: "load" });
            if (!answer.ok()) say(`status ${answer.status()}`);
            const wide = await page.evaluate(() => {
              const root = document.documentElement;
              return root.scrollWidth > root.clientWidth ? `${root.scrollWidth} > ${root.clientWidth}` : null;
            });
            if (wide) say(`horizontal overflow: ${wide}`);
            // What a log or a guest wrote must be text: nothing of it may be an element or run.
            const hostile = await page.evaluate(() => {
              const elements = document.querySelectorAll("img, iframe, object, embed, main script, [onerror], [onload], [onclick], [style]");
              return [...elements].map((element) => element.outerHTML.slice(0, 200)).concat(window.pwned ? ["it ran"] : []);
            });
            for (const what of hostile) say(`hostile: ${what}`);
            const bare = await page.evaluate(() => [
              ["one h1", document.querySelectorAll("h1").length === 1],
              ["a main", document.querySelectorAll("main").length === 1],
            ].filter(([, holds]) => !holds).map(([what]) => what));
            for (const what of bare) say(`lacks ${what}`);
            // What stands alone leads nowhere, so there is nothing to skip.
            const frame = (asked.alone ?? []).includes(at) ? [] : await page.evaluate(() => [
              ["a navigation", document.querySelectorAll("nav[aria-label]").length > 0],
              ["a skip link first", document.querySelector("a")?.getAttribute("href") === "#main"],
            ].filter(([, holds]) => !holds).map(([what]) => what));
            for (const what of frame) say(`lacks ${what}`);
            // Letters of a drawing are as small as it is drawn.
            const small = await page.evaluate(() => [...document.querySelectorAll("svg text")]
              .map((text) => [text.textContent, text.getBoundingClientRect().height]).filter(([, height]) => height > 0 && height < 9).slice(0, 3));
            for (const [text, height] of small) say(`too small to read: ${text} (${height} px)`);
            // The policy lets no script in, and the tool's comes in by the protocol; what it looks at is the same without.
            if (script) await (await context.newCDPSession(page)).send("Runtime.evaluate", { expression: AXE });
            const found = !script ? [] : await page.evaluate(async () => {
              const { violations } = await window.axe.run(document, { resultTypes: ["violations"] });
              return violations.filter((one) => ["serious", "critical"].includes(one.impact) || one.id === "landmark-unique")
                .map((one) => `${one.id}: ${one.help}: ${one.nodes.map((node) => `${node.target} (${node.failureSummary?.split("\n")[1]?.trim()})`).slice(0, 3).join("; ")}`);
            });
            for (const what of found) say(`axe: ${what}`);
            const text = await page.evaluate(() => document.body.innerText);
            for (const needed of asked.shows?.[at] ?? []) if (!text.includes(needed)) say(`does not show: ${needed}`);
            if (asked.pictures && script) {
              const name = at === "/" ? "now" : at.split("/")[1].split("?")[0] + (at.split("/").length > 2 ? "-one" : "");
              await page.screenshot({ path: path.join(asked.pictures, `${name}-${size}-${colorScheme}.png`), fullPage: true });
            }
            await page.close();
          }
          await context.close();
        }
      }
    }
  } finally {
    await browser.close();
  }
  process.stdout.write(JSON.stringify({ looks, problems }));
};

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
});
