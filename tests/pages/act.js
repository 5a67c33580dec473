// An operator takes an incident in a browser without script, while another browser has the first page open and follows.
// Prints what is wrong as JSON: { problems }.
"use strict";
const launch = require("./browser");

const main = async () => {
  const asked = JSON.parse(process.argv[2]);
  const problems = [];
  const browser = await launch(asked.chromium);
  try {
    const watching = await (await browser.newContext()).newPage();
    watching.setDefaultTimeout(60_000);
    let loads = 0;
    watching.on("load", () => { loads += 1; });
    await watching.goto(`${asked.base}/`);
    await watching.waitForFunction(() => document.getElementById("live").textContent === "live", null, { polling: 250 });
    if (!(await watching.innerText("main")).includes("nobody has taken it")) problems.push("it is taken already");

    const plain = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
    plain.setDefaultTimeout(60_000);
    const send = async (token) => {
      await plain.goto(`${asked.base}/incidents/${asked.incident}`);
      const form = plain.locator(`form[action$="/ack"]`);
      await form.locator("[name=author]").fill("ada");
      await form.locator("[name=token]").fill(token);
      await form.locator("[name=note]").fill("<b>looking</b>");
      await form.locator("button").click();
      await plain.waitForLoadState();
      return plain.innerText("main");
    };
    const refused = await send("x".repeat(20));
    if (!refused.includes("The token is missing or wrong")) problems.push(`a wrong token: ${refused}`);
    const taken = await send(asked.token);
    if (!taken.includes("You have taken the incident")) problems.push(`taken: ${taken}`);
    if (!taken.includes("<b>looking</b>")) problems.push("the note is not shown as it was written");

    await watching.waitForFunction(() => document.querySelector("main").innerText.includes("taken by ada"), null, { polling: 250 });
    if (loads !== 1) problems.push(`the open page was loaded ${loads} times`);

    // The keyboard alone: the first stop is the skip link, and it leads to the content.
    await watching.goto(`${asked.base}/`);
    await watching.keyboard.press("Tab");
    const skip = await watching.evaluate(() => document.activeElement.getAttribute("href"));
    if (skip !== "#main") problems.push(`the first stop is ${skip}`);
    await watching.keyboard.press("Enter");
    if (!watching.url().endsWith("#main")) problems.push("the skip link leads nowhere");
  } finally {
    await browser.close();
  }
  process.stdout.write(JSON.stringify({ problems }));
};

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
});
