import { createHash } from "node:crypto";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { defineConfig, type Plugin } from "vite";

const ROOT = import.meta.dirname;
const LEFT_OUT = new Set(["node_modules"]);

/** All files of this folder, in the order of their paths. */
function sources(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => !LEFT_OUT.has(name))
    .flatMap((name) => {
      const path = join(folder, name);
      return statSync(path).isDirectory() ? sources(path) : [path];
    });
}

/** SHA-256 over paths and contents of the sources: tests compare it with what they find here. */
function digest(): string {
  const hash = createHash("sha256");
  const named = sources(ROOT).map((path) => [relative(ROOT, path).split(sep).join("/"), path] as const);
  for (const [name, path] of named.sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(`${name}\0`);
    hash.update(createHash("sha256").update(readFileSync(path)).digest());
  }
  return hash.digest("hex");
}

/** Texts of the licences of what is in the bundle. */
function licences(): string {
  const lock = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8")) as {
    packages: Record<string, { version?: string; dev?: boolean; license?: string }>;
  };
  const parts = Object.entries(lock.packages)
    .filter(([place, about]) => place !== "" && !about.dev)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([place, about]) => {
      const folder = join(ROOT, place);
      const texts = readdirSync(folder)
        .filter((name) => /^(licen[cs]e|notice)/i.test(name))
        .sort()
        .map((name) => readFileSync(join(folder, name), "utf8").trim());
      const title = `${place.replace("node_modules/", "")} ${about.version} (${about.license})`;
      return [title, "-".repeat(title.length), ...texts].join("\n");
    });
  return `${parts.join("\n\n\n")}\n`;
}

function beside(): Plugin {
  return {
    name: "beside",
    generateBundle() {
      this.emitFile({ type: "asset", fileName: "licences.txt", source: licences() });
      this.emitFile({ type: "asset", fileName: "source.json", source: `{"sha256":"${digest()}"}\n` });
    },
  };
}

export default defineConfig({
  root: ROOT,
  base: "/",
  plugins: [beside()],
  build: {
    outDir: "../qframe_rl/service/static",
    emptyOutDir: true,
    target: "es2022",
    sourcemap: false,
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 700,
  },
  server: { proxy: { "/api": "http://127.0.0.1:8321" } },
});
