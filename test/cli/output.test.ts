import { describe, expect, it } from "vitest";
import { facts, table } from "../../runtime/cli/output";
import { CollectedStream, testOutput, testSurroundings } from "../support/cli-surroundings";

describe("progress", () => {
  it("is one line that is redrawn on a terminal, and gone when the answer comes", () => {
    const stderr = new CollectedStream(20);
    const { output } = testOutput({}, testSurroundings({ stderr }));

    output.progress("packing 1 of 3");
    output.progress("packing 2 of 3, which is longer than the terminal");
    output.result({}, () => "answer");

    expect(stderr.text).not.toContain("\n");
    expect(stderr.writes).toEqual(["\r\u001b[2Kpacking 1 of 3", "\r\u001b[2Kpacking 2 of 3, whi", "\r\u001b[2K"]);
  });

  it("is a plain line now and then where it cannot be redrawn", () => {
    const { output, stderr } = testOutput();

    for (let done = 0; done < 1000; done++) output.progress(`packing ${done} of 1000`);

    expect(stderr.text.split("\n")[0]).toBe("packing 0 of 1000");
    expect(stderr.writes.length).toBeLessThan(10);
    expect(stderr.text).not.toContain("\u001b");
  });

  it("is not shown at all when quiet, but remarks are", () => {
    const stderr = new CollectedStream(80);
    const { output } = testOutput({ quiet: true }, testSurroundings({ stderr }));

    output.progress("packing");
    output.remark("a plugin has a hidden folder");

    expect(stderr.text).toBe("a plugin has a hidden folder\n");
  });

  it("never goes to stdout", () => {
    const { output, stdout } = testOutput({ json: true });

    output.progress("packing");
    output.remark("something");
    output.result({ id: "x" }, () => "text");

    expect(JSON.parse(stdout.text)).toEqual({ id: "x" });
  });
});

describe("text", () => {
  it("aligns a table's columns and shows what is not there as a dash", () => {
    const text = table(
      ["NAME", "QUEUE"],
      [
        ["studio", 3],
        ["a", null],
      ],
    );

    expect(text).toBe("NAME    QUEUE\nstudio  3\na       -");
  });

  it("aligns facts and leaves out what does not apply", () => {
    expect(
      facts([
        ["id", "1"],
        ["python", null],
        ["gone", undefined],
      ]),
    ).toBe("id:     1\npython: -");
  });
});
