// The page of banboard as a person uses it. Called by scripts/test-browser.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const [binary, out] = process.argv.slice(2).map((each) => resolve(each));
const { chromium } = createRequire(join(out, "x.js"))("playwright-core");

const PASSWORD = "correct horse battery staple";
const WIDTH = 360; // pixels: the narrowest phone that is common

const data = mkdtempSync(join(tmpdir(), "banboard-"));
const undo = [() => rmSync(data, { recursive: true, force: true })];

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

async function startService(more) {
  const address = `127.0.0.1:${await freePort()}`;
  const service = spawn(binary, [], {
    env: {
      PATH: process.env.PATH,
      BANBOARD_DATA_DIR: mkdtempSync(join(data, "service-")),
      BANBOARD_ALLOW_UNSHARED_LOCK: "overlay,tmpfs",
      BANBOARD_LISTEN: address,
      BANBOARD_ADMIN_PASSWORD: PASSWORD,
      ...more,
    },
    stdio: ["ignore", "ignore", "pipe"],
  });
  undo.push(async () => {
    const ended = new Promise((done) => service.once("exit", done));
    service.kill("SIGTERM");
    assert.equal(await ended, 0, "banboard stops clean");
  });
  let said = "";
  await new Promise((ready, failed) => {
    service.once("exit", (code) => failed(new Error(`banboard ended with ${code}:\n${said}`)));
    service.stderr.on("data", (text) => {
      said += text;
      if (said.includes("READY")) ready();
    });
  });
  return `http://${address}`;
}

async function startBrowser() {
  const profile = mkdtempSync(join(data, "profile-"));
  // A browser that must not go anywhere but to the service: whatever else it would ask for cannot be found.
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: "/usr/bin/chromium",
    headless: true,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
    viewport: { width: 1280, height: 760 },
    reducedMotion: "reduce",
  });
  undo.push(() => context.close());
  return context;
}

let steps = 0;
async function step(name, run) {
  const begun = performance.now();
  try {
    await run();
  } catch (error) {
    throw new Error(`${name}: ${error.message}`, { cause: error });
  }
  steps += 1;
  console.log(`ok  ${name} (${Math.round(performance.now() - begun)} ms)`);
}

const overflow = (page) =>
  page.evaluate(() => {
    const root = document.scrollingElement;
    const wide = [...document.querySelectorAll("body *")].filter(
      (each) => each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).overflowX === "auto",
    );
    return { page: root.scrollWidth - root.clientWidth, parts: wide.map((each) => each.id || each.tagName) };
  });

// WCAG 2.1, 1.4.3: what is read has 4.5 times the luminance of its ground, or the other way round.
const faint = (page) =>
  page.evaluate(() => {
    const rgb = (colour) => colour.match(/[\d.]+/g).map(Number);
    const luminance = ([r, g, b]) =>
      [r, g, b].map((each) => each / 255).map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4))
        .reduce((sum, each, at) => sum + each * [0.2126, 0.7152, 0.0722][at], 0);
    const ground = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const [r, g, b, a = 1] = rgb(getComputedStyle(at).backgroundColor);
        if (a > 0) return [r, g, b];
      }
      return [255, 255, 255];
    };
    const texts = [...document.querySelectorAll("body *")].filter(
      (each) => !each.closest("svg") && [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim()) && each.offsetParent,
    );
    return texts
      .map((each) => [luminance(rgb(getComputedStyle(each).color)), luminance(ground(each)), each.textContent.slice(0, 30)])
      .filter(([one, other]) => (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05) < 4.5);
  });

async function logIn(page, password) {
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Log in" }).click();
}

async function main() {
  const url = await startService({});
  const context = await startBrowser();
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const complaints = [];
  page.on("console", (message) => {
    // The answer to a wrong password is an error by its status, as it should be.
    if (message.type() === "error" && !message.text().includes("403")) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));

  await step("a guest reads the board and is offered to log in, but nothing else", async () => {
    await page.goto(url);
    assert.equal(await page.getByRole("heading", { level: 1 }).textContent(), "Banboard");
    assert.equal(await page.getByRole("button").count(), 0);
    assert.equal(await page.getByRole("table").count(), 4);
    await page.screenshot({ path: join(out, "banboard.png") });
  });
  await step("a wrong password is refused, in words that belong to the field", async () => {
    await page.getByRole("link", { name: "Log in" }).click();
    await logIn(page, "wrong");
    assert.match(await page.getByRole("alert").textContent(), /not the password/);
    const described = await page.getByLabel("Password").getAttribute("aria-describedby");
    assert.equal(await page.getByRole("alert").getAttribute("id"), described);
    assert.equal((await context.cookies()).length, 0);
  });
  await step("the right password logs in, and its cookie is for nobody else", async () => {
    await logIn(page, PASSWORD);
    await page.getByRole("button", { name: "Log out" }).waitFor();
    const [cookie] = await context.cookies();
    assert.equal(cookie.httpOnly, true);
    assert.equal(cookie.sameSite, "Strict");
    assert.equal(await page.evaluate(() => document.cookie), "");
  });
  await step("a ban is lifted, and is gone from the board", async () => {
    const active = async () => Number(await page.locator(".figures dd").first().textContent());
    const before = await active();
    const button = page.getByRole("button", { name: /^Lift the ban of/ }).first();
    const name = await button.getAttribute("aria-label");
    await button.click();
    assert.equal(await page.getByRole("status").textContent(), "The ban was lifted.");
    assert.equal(await active(), before - 1);
    assert.equal(await page.getByRole("button", { name, exact: true }).count(), 0);
  });
  for (const colorScheme of ["light", "dark"]) {
    await step(`every text can be told from its ground, ${colorScheme}`, async () => {
      await page.emulateMedia({ colorScheme });
      assert.deepEqual(await faint(page), []);
    });
  }
  await page.emulateMedia({ colorScheme: "light" });
  await step(`nothing is wider than a phone of ${WIDTH} pixels, and buttons are as large as a thumb needs`, async () => {
    await page.setViewportSize({ width: WIDTH, height: 860 });
    assert.deepEqual(await overflow(page), { page: 0, parts: [] });
    const boxes = await page.getByRole("button").evaluateAll((all) => all.map((each) => each.getBoundingClientRect().toJSON()));
    assert.ok(boxes.every((box) => box.width >= 44 && box.height >= 40), JSON.stringify(boxes[0]));
    await page.goto(url);
    await page.screenshot({ path: join(out, "banboard-phone.png") });
  });
  await step("the keyboard reaches every control, the first key skips to the bans, and focus shows", async () => {
    await page.setViewportSize({ width: 1280, height: 760 });
    await page.goto(url);
    const controls = await page.locator("a[href], button, summary").count();
    const seen = new Set();
    for (let key = 0; key < controls; key += 1) {
      await page.keyboard.press("Tab");
      const [index, outline, text] = await page.evaluate(() => {
        const at = document.activeElement;
        const all = [...document.querySelectorAll("a[href], button, summary")];
        return [all.indexOf(at), getComputedStyle(at).outlineStyle, at.textContent];
      });
      if (key === 0) assert.equal(text, "Skip to the active bans");
      assert.notEqual(outline, "none", text);
      seen.add(index);
    }
    assert.equal(seen.size, controls);
  });
  await step("logging out ends the session on the server, too", async () => {
    const kept = await context.cookies();
    await page.getByRole("button", { name: "Log out" }).click();
    assert.equal(await page.getByRole("status").textContent(), "You are logged out.");
    assert.equal((await context.cookies()).length, 0);
    await context.addCookies(kept);
    await page.goto(url);
    assert.equal(await page.getByRole("button").count(), 0);
  });
  await step("the picture of the start is a picture", async () => {
    await page.goto(url);
    await page.getByText("The same as a picture").click();
    const drawing = page.getByRole("img", { name: /stages of this start/ });
    await drawing.scrollIntoViewIfNeeded();
    await page.waitForFunction(() => document.querySelector("details img").naturalWidth > 0);
    await page.goto(`${url}/startup.svg`);
    assert.equal(await page.evaluate(() => document.documentElement.tagName), "svg");
    assert.match(await page.content(), /worker-mode/);
  });
  await step("a session that is over says so, and leads back to the form", async () => {
    const short = await startService({ BANBOARD_SESSIONS_TIME_TO_LIVE: "2s" });
    await page.goto(`${short}/login`);
    await logIn(page, PASSWORD);
    const lift = page.getByRole("button", { name: /^Lift the ban of/ }).first();
    await lift.waitFor();
    await page.waitForTimeout(2_200);
    await lift.click();
    assert.match(await page.getByRole("alert").textContent(), /session is over/);
    await page.goto(short);
    assert.match(await page.getByRole("status").textContent(), /session is over/);
    assert.equal((await context.cookies()).length, 0);
  });
  assert.deepEqual(complaints, [], "the browser complains of nothing");
  for (const name of ["banboard.png", "banboard-phone.png"]) {
    assert.ok(statSync(join(out, name)).size < 150_000, `${name} is small enough for a repository`);
  }
  console.log(`${steps} steps`);
}

let failed = false;
try {
  await main();
} catch (error) {
  failed = true;
  console.error(error);
} finally {
  for (const each of undo.reverse()) {
    try {
      await each();
    } catch (error) {
      failed = true;
      console.error(error);
    }
  }
}
process.exitCode = failed ? 1 : 0;
