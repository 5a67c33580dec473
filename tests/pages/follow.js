// An open page that follows, behind a door that can hang, be shut, refuse the stream or keep it back, as a server, a network
// or a proxy does.
// Prints what is wrong as JSON: { problems }.
"use strict";
const http = require("node:http");
const launch = require("./browser");

// Between the browser and bootwatch.
const door = (base) => {
  const sockets = new Set(), streams = new Set(), held = [];
  const state = { hangs: false, refuses: false, gathers: false, asked: 0, streams };
  const pass = (request, response) => {
    const isStream = request.url === "/events";
    if (isStream) state.asked += 1;
    if (isStream && state.refuses) return response.writeHead(503).end();
    const onward = http.request(base + request.url, { method: request.method, headers: request.headers }, (answer) => {
      if (isStream && state.gathers) return answer.resume();
      response.writeHead(answer.statusCode, answer.headers);
      answer.on("data", (piece) => { if (state.hangs) held.push(() => response.write(piece)); else response.write(piece); });
      answer.on("end", () => response.end());
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => { onward.destroy(); streams.delete(response); });
    if (isStream) streams.add(response);
    onward.end();
  };
  const server = http.createServer((request, response) => {
    if (state.hangs) held.push(() => pass(request, response)); else pass(request, response);
  });
  server.on("connection", (socket) => { sockets.add(socket); socket.on("close", () => sockets.delete(socket)); });
  const listen = (port) => new Promise((done) => { server.listen(port, "127.0.0.1", () => done(server.address().port)); });
  return Object.assign(state, {
    listen,
    thaw() { state.hangs = false; for (const work of held.splice(0)) work(); },
    shut: () => new Promise((done) => { server.close(done); for (const socket of sockets) socket.destroy(); }),
  });
};

const main = async () => {
  const asked = JSON.parse(process.argv[2]);
  const problems = [];
  const say = (holds, what) => { if (!holds) problems.push(what); };
  const between = door(asked.base);
  const port = await between.listen(0);
  const browser = await launch(asked.chromium);
  try {
    const page = await (await browser.newContext()).newPage();
    page.setDefaultTimeout(60_000);
    await page.clock.install();
    const until = (what, holds, given) => page.waitForFunction(holds, given, { polling: 100 })
      .catch(async () => { throw new Error(`not in time: ${what}: ${await page.innerText("body")}`); });
    // The page's time passes at once until it holds.
    const passing = async (what, holds) => {
      for (let turn = 0; turn < 200; turn += 1) {
        if (await page.evaluate(holds)) return;
        await page.clock.runFor(1_000);
      }
      throw new Error(`never: ${what}: ${await page.innerText("body")}`);
    };
    const isLive = () => document.getElementById("live").textContent === "live"
      && document.getElementById("state").classList.contains("s-down")
      && document.getElementById("brand").className === "s-down"
      && document.getElementById("not-live").textContent === "" && !document.title.startsWith("Not live");
    const isGrey = () => document.getElementById("state").className === "state s-unknown"
      && document.getElementById("brand").className === "s-unknown"
      && /^Not live since \d\d:\d\d:\d\d; what stands here is of then\.$/.test(document.getElementById("not-live").textContent)
      && document.title.startsWith("Not live") && document.getElementById("live").textContent.includes("trying again");

    await page.goto(`http://127.0.0.1:${port}/`);
    await until("it follows", isLive);

    // A tab among many, and whoever sees no colour, are told in words.
    say((await page.title()).startsWith("Down · "), `the tab says ${await page.title()}`);
    const sources = await page.innerText("section[aria-labelledby=h-sources] tbody");
    say(/log\s+seen/.test(sources), `the sources are told by colour alone: ${sources}`);

    // What the reader opened stays open, and he stays where he was, while all around it is replaced.
    const summary = page.locator("#now summary").first();
    await summary.focus();
    await page.keyboard.press("Enter");
    await page.evaluate(() => {
      for (const id of ["now", "said", "since"]) document.getElementById(id).firstElementChild.dataset.old = "yes";
    });
    await until("the page is put in its place anew", () => !document.querySelector("#now [data-old]"));
    const kept = await page.evaluate(() => [document.querySelector("#now details").open, document.activeElement.localName]);
    // The time that passes is outside of what is read out, which is not touched while it says the same.
    await until("the time that passes is shown", () => !document.querySelector("#since [data-old]"));
    say(await page.evaluate(() => document.querySelector("#said [data-old]") !== null), "the state is read out again");
    say(!/For \d/.test(await page.innerText("#said")), "the time is read out");
    say(kept.join() === "true,summary", `after a refresh: open and focus are ${kept}`);

    // What is typed is not replaced, also when the focus has gone on, until it is taken back.
    await page.evaluate(() => {
      const field = document.getElementById("now").appendChild(document.createElement("input"));
      field.value = "half a sen";
      document.getElementById("since").firstElementChild.dataset.old = "yes";
    });
    await until("the page looks while somebody types", () => !document.querySelector("#since [data-old]"));
    say(await page.evaluate(() => document.querySelector("#now input") !== null), "what is typed is replaced");
    await page.evaluate(() => { document.querySelector("#now input").value = ""; });
    await until("what nobody types in is replaced", () => !document.querySelector("#now input"));

    // Headless Chromium shows every page, so the test says what the page is told.
    const hide = (hidden) => page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
    const soon = async (what, holds) => {
      for (const end = Date.now() + 60_000; !holds();) {
        if (Date.now() > end) throw new Error(`not in time: ${what}`);
        await page.evaluate(() => 0);
      }
    };
    await hide(true);
    await soon("a hidden page leaves its stream", () => between.streams.size === 0);
    await page.clock.runFor(60_000);
    say(await page.evaluate(isLive) && between.streams.size === 0, "a hidden page does something");
    await hide(false);
    await soon("a page that is shown again follows", () => between.streams.size === 1);
    await until("it is live when shown again", isLive);

    between.hangs = true;
    await passing("a server that hangs turns the page grey", isGrey);
    between.thaw();
    await passing("it is live again after it hung", isLive);

    await between.shut();
    await passing("a server that is gone turns the page grey", isGrey);
    await between.listen(port);
    await passing("it is live again after the server was gone", isLive);

    // Nothing is heard any more while all places are taken, yet the page looks; then a place is free.
    between.refuses = true;
    for (const stream of between.streams) stream.destroy();
    const before = between.asked;
    await passing("the stream is refused", () => document.getElementById("live").textContent !== "live");
    for (let turn = 0; turn < 200 && between.asked < before + 3; turn += 1) await page.clock.runFor(1_000);
    say(between.asked >= before + 3, "a refused stream is not asked for again");
    await until("it is live without a stream", isLive);
    between.refuses = false;
    for (let turn = 0; turn < 200 && between.streams.size === 0; turn += 1) await page.clock.runFor(1_000);
    say(between.streams.size === 1, `${between.streams.size} streams after a refusal`);

    // A proxy that gathers an answer until its end hands on nothing of the stream: the page looks unasked.
    await hide(true);
    await soon("the stream is left", () => between.streams.size === 0);
    between.gathers = true;
    await hide(false);
    await until("it is live while nothing is heard", isLive);
    // When it asks is counted: its time passes faster than this machine answers.
    await page.evaluate(() => {
      const ask = window.fetch;
      window.looks = [Date.now()];
      window.fetch = (what, how) => {
        if (what === location.href) window.looks.push(Date.now());
        return ask(what, how);
      };
    });
    for (let turn = 0; turn < 120; turn += 1) await page.clock.runFor(1_000);
    const gaps = await page.evaluate(() => [...window.looks, Date.now()].map((at, place, all) => at - (all[place - 1] ?? at)));
    say(Math.max(...gaps) < 15_000, `a page whose stream is kept back looks so seldom (ms): ${gaps}`);
  } finally {
    await browser.close();
    await between.shut();
  }
  process.stdout.write(JSON.stringify({ problems }));
};

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
});
