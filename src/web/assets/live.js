// What changes is fetched and put in its place; without this script the page is the same, as of when it was loaded.
//
// The stream says when to look (events.rs) and the page is what was seen. So only an answer to a look shows that the page
// is live: without one for a while nobody knows how things stand, whatever the colour was, and the page says so.
"use strict";
(() => {
  const places = () => [...document.querySelectorAll("[data-live]")];
  if (places().length === 0) return;
  // The stream makes us look at least every 10 s, so that one look may fail. A page that everybody may see has none, and
  // says itself how often it is looked at.
  const EVERY = 1_000 * Number(document.documentElement.dataset.every ?? 0);
  const SILENCE = 2.5 * EVERY || 20_000, PATIENCE = 8_000, FIRST_PAUSE = 2_000, LONGEST_PAUSE = 15_000;
  // Whoever was not made to look for so long does it unasked: what stands between may hold the stream back.
  const UNASKED = 11_000;
  const age = document.getElementById("live");
  const said = (text) => { if (age) age.textContent = text; };
  let busy = false, missed = false, tag = null, live = true, seen = Date.now(), looked = seen;
  let seenOn = Date.parse(age?.querySelector("time")?.dateTime) || seen;

  // What was fetched last, since what is shown differs by what the reader did with it.
  const fetched = new Map(places().map((place) => [place.id, place.innerHTML]));

  // Somebody writes or reads in there, or has written: it stays as it is until he is done.
  const inUse = (place) => {
    const focus = document.activeElement;
    if (focus && place.contains(focus) && focus.matches("input, select, textarea")) return true;
    // What is folded away is given up.
    const open = [...place.querySelectorAll("input, textarea")].filter((field) => !field.closest("details:not([open])"));
    if (open.some((field) => field.value !== field.defaultValue)) return true;
    const marked = document.getSelection();
    return Boolean(marked && !marked.isCollapsed && place.contains(marked.anchorNode));
  };

  // Where an element is, in words that hold for the next text as well: below what has an id, by where it leads or its turn.
  const spot = (element) => {
    if (element.id) return [`#${CSS.escape(element.id)}`, 0];
    const href = element.getAttribute("href");
    const kind = href ? `[href="${CSS.escape(href)}"]` : element.localName;
    const all = `#${CSS.escape(element.parentElement.closest("[id]").id)} ${kind}`;
    return [all, [...document.querySelectorAll(all)].indexOf(element)];
  };
  const at = ([all, turn]) => document.querySelectorAll(all)[turn];

  // What the reader opened stays open, and he stays where he was.
  const replace = (place, text) => {
    const focus = place.contains(document.activeElement) && place !== document.activeElement ? spot(document.activeElement) : null;
    const folds = [...place.querySelectorAll("details")].map((fold) => [spot(fold), fold.open]);
    place.innerHTML = text;
    for (const [fold, open] of folds) at(fold)?.toggleAttribute("open", open);
    if (focus) at(focus)?.focus({ preventScroll: true });
  };

  // The server's clock, in the zone of the page.
  const clock = (at) => {
    const form = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
    try {
      return new Date(at).toLocaleTimeString("en-GB", { ...form, timeZone: age?.dataset.zone || "UTC" });
    } catch {
      return `${new Date(at).toLocaleTimeString("en-GB", { ...form, timeZone: "UTC" })} UTC`;
    }
  };

  const grey = () => {
    // A look that is under way may yet be answered; it is given up in time.
    if (!live || busy || Date.now() - seen < SILENCE) return;
    live = false;
    tag = null;
    fetched.delete("brand");
    const since = `ot live since ${clock(seenOn)}`;
    for (const id of ["state", "brand"]) {
      const place = document.getElementById(id);
      if (place) place.className = place.className.replace(/\bs-\S+/, "s-unknown");
    }
    const word = document.querySelector("#brand .away");
    if (word) word.textContent = "state: unknown";
    const banner = document.getElementById("not-live");
    if (banner) banner.textContent = `N${since}; what stands here is of then.`;
    document.title = `Not live · ${document.title}`;
    said(`n${since}, trying again`);
  };

  const lively = (answer) => {
    seen = Date.now();
    seenOn = Date.parse(answer.headers.get("date")) || seen;
    live = true;
    const banner = document.getElementById("not-live");
    if (banner) banner.textContent = "";
    said("live");
  };

  const refresh = async () => {
    missed ||= busy;
    if (busy || document.hidden) return;
    [busy, missed, looked] = [true, false, Date.now()];
    try {
      const answer = await fetch(location.href, {
        headers: tag ? { "If-None-Match": tag } : {},
        cache: "no-store",
        // A server that hangs takes the question and never answers.
        signal: AbortSignal.timeout(PATIENCE),
      });
      // What was turned grey meanwhile needs the whole page to be turned back.
      if (answer.status === 304 && live) lively(answer);
      // A page that is an error itself stays one, and is live as long as bootwatch answers: what stands between has not
      // its headers. Who is not let in any more sees nothing.
      if (![200, 304, 401].includes(answer.status) && answer.headers.has("x-frame-options")) lively(answer);
      if (answer.status !== 200) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      tag = answer.headers.get("etag");
      lively(answer);
      document.title = fresh.title;
      for (const place of places()) {
        const now = fresh.getElementById(place.id);
        if (!now) continue;
        place.className = now.className;
        // One with places in it is their frame.
        if (place.querySelector("[data-live]")) continue;
        if (inUse(place) || fetched.get(place.id) === now.innerHTML) continue;
        replace(place, now.innerHTML);
        fetched.set(place.id, now.innerHTML);
      }
      for (const open of document.querySelectorAll("time[datetime]")) open.title = open.dateTime;
    } catch {
      // The next event tries again, or the next stream.
    } finally {
      busy = false;
      if (missed) refresh();
    }
  };

  let events = null, pause = FIRST_PAUSE, again = null, heard = 0;
  const follow = () => {
    again = null;
    events?.close();
    heard = Date.now();
    if (EVERY) {
      refresh();
      return;
    }
    events = new EventSource("/events");
    const look = () => {
      heard = Date.now();
      pause = FIRST_PAUSE;
      refresh();
    };
    events.addEventListener("changed", look);
    events.addEventListener("still", look);
    events.addEventListener("error", () => {
      said("not live, trying again");
      if (events?.readyState === EventSource.CLOSED) later();
    });
  };
  // The browser gives up after a refusal, and does not see that the other end is gone. Meanwhile the page is looked at.
  const later = () => {
    if (again !== null) return;
    again = setTimeout(follow, pause);
    pause = Math.min(2 * pause, LONGEST_PAUSE);
    refresh();
  };

  // A browser has six connections to a server for all its tabs, so one that nobody sees leaves its own to the others.
  const shown = () => {
    clearTimeout(again);
    again = null;
    events?.close();
    if (document.hidden) return;
    // Whether it has changed or not, the page is as of now.
    tag = null;
    follow();
    if (!EVERY) refresh();
  };

  shown();
  setInterval(() => {
    if (document.hidden) return;
    grey();
    if (EVERY && Date.now() - heard > EVERY) follow();
    if (!EVERY && Date.now() - heard > SILENCE) later();
    if (!EVERY && Date.now() - looked > UNASKED) refresh();
  }, 1_000);
  document.addEventListener("visibilitychange", shown);
})();
