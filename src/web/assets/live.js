// What changes is fetched and put in its place; without this script the page is the same, as of when it was loaded.
"use strict";
(() => {
  const places = () => [...document.querySelectorAll("[data-live]")];
  if (places().length === 0) return;
  let busy = false, tag = null;

  // Somebody writes or reads in there: it stays as it is until he leaves.
  const inUse = (place) => {
    const focus = document.activeElement;
    if (focus && place.contains(focus) && focus.matches("input, select, textarea")) return true;
    const marked = document.getSelection();
    return Boolean(marked && !marked.isCollapsed && place.contains(marked.anchorNode));
  };

  const refresh = async () => {
    if (busy || document.hidden) return;
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
      if (answer.status !== 200) return;
      tag = answer.headers.get("etag");
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.title = fresh.title;
      for (const place of places()) {
        const now = fresh.getElementById(place.id);
        if (!now || inUse(place)) continue;
        const focus = place.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
        place.className = now.className;
        if (place.innerHTML !== now.innerHTML) place.innerHTML = now.innerHTML;
        if (focus) place.querySelector(`[href="${CSS.escape(focus)}"]`)?.focus();
      }
      for (const open of document.querySelectorAll("time[datetime]")) open.title = open.dateTime;
    } catch {
      // The next event tries again.
    } finally {
      busy = false;
    }
  };

  const age = document.getElementById("live");
  const said = (text) => { if (age) age.textContent = text; };
  const events = new EventSource("/events");
  events.addEventListener("open", () => said("live"));
  events.addEventListener("changed", refresh);
  events.addEventListener("error", () => said("not live, trying again"));
  document.addEventListener("visibilitychange", refresh);
})();
