// Keeps the shell, so that the page opens without a network and says so. Figures are never kept: what is below /api is
// not touched at all.
const KEPT = "shell";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

async function fresh(request, path) {
  const kept = await caches.open(KEPT);
  try {
    const answer = await fetch(request);
    if (answer.ok) {
      if (path === "/") await tidied(kept, await answer.clone().text());
      await kept.put(path, answer.clone());
    }
    return answer;
  } catch (error) {
    const known = await kept.match(path);
    if (known) return known;
    throw error;
  }
}

// With another page come other assets.
async function tidied(kept, page) {
  const known = await kept.match("/");
  if (known === undefined || (await known.text()) === page) return;
  for (const request of await kept.keys()) await kept.delete(request);
}

async function lasting(request, path) {
  const kept = await caches.open(KEPT);
  return (await kept.match(path)) ?? fresh(request, path);
}

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== self.location.origin) return;
  if (url.pathname === "/") event.respondWith(fresh(event.request, "/"));
  else if (url.pathname.startsWith("/assets/")) event.respondWith(lasting(event.request, url.pathname));
});
