import { createServer, type Server } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PortBook } from "../../runtime/supervisor/port-book";
import { freePort, isFree } from "../../runtime/supervisor/ports";

let server: Server;
let port: number;

beforeEach(async () => {
  server = createServer();
  port = await freePort();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
});
afterEach(() => new Promise((resolve) => server.close(resolve)));

describe("a port", () => {
  it("is free until something listens there", async () => {
    expect(await isFree(port)).toBe(false);
    expect(await isFree(await freePort())).toBe(true);
  });

  it("is refused with the name of the process that listens there", async () => {
    const refused = new PortBook().demand(port, "gateway of studio");

    await expect(refused).rejects.toThrow(new RegExp(`port ${port} .*gateway of studio.*process ${process.pid} \\(`));
  });

  it("belongs to what it was entered for, also while nothing listens", async () => {
    const book = new PortBook();
    const own = await book.choose("gateway of studio");

    expect(await book.takenBy(own, "gateway of studio")).toBeNull();
    expect(await book.takenBy(own, "workstation studio")).toBe("gateway of studio");
    book.leave(own, "workstation studio");
    expect(await book.takenBy(own, "workstation studio")).toBe("gateway of studio");
    book.leave(own, "gateway of studio");
    expect(await book.takenBy(own, "workstation studio")).toBeNull();
  });
});
