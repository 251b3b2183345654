import fc from "fast-check";
import { expect, test } from "vitest";
import { SpoolJournal } from "../../../runtime/gateway/kubernetes/spool-journal";

const changes = fc.array(
  fc.record({ put: fc.boolean(), name: fc.constantFrom("a", "b", "c", "d"), read: fc.boolean() }),
  { maxLength: 60 },
);

test("who follows the news, however seldom, has what there is", () => {
  fc.assert(
    fc.property(changes, (list) => {
      const journal = new SpoolJournal();
      const there = new Set<string>();
      const copy = new Set<string>();
      let [known, version] = ["", 0];
      const read = () => {
        const news = journal.since(known, version);
        if (news.full) copy.clear();
        for (const path of news.gone) copy.delete(path);
        for (const path of news.present) copy.add(path);
        known = news.journal;
        version = news.version;
      };
      for (const change of list) {
        if (change.put) there.add(`results/${change.name}`);
        else there.delete(`results/${change.name}`);
        if (change.put) journal.put("results", change.name);
        else journal.remove("results", change.name);
        if (change.read) read();
      }
      read();
      expect(copy).toEqual(there);
    }),
  );
});

test("who is too far behind, or followed another leader, is given everything", () => {
  const journal = new SpoolJournal();
  for (let index = 0; index < 30_000; index += 1) journal.put("prompts", String(index % 100));
  expect(journal.since(journal.id, 1)).toMatchObject({ full: true, version: 30_000 });
  expect(journal.since(journal.id, 1).present).toHaveLength(100);
  expect(journal.since("another", 30_000).full).toBe(true);
  expect(journal.since(journal.id, 30_001).full).toBe(true);
  expect(journal.since(journal.id, 29_999)).toMatchObject({ full: false, present: ["prompts/99"], gone: [] });
});

test("who waits for news is woken by it", async () => {
  const journal = new SpoolJournal();
  const news = journal.nextChange(60_000, new AbortController().signal);
  journal.put("", "departures.json");
  await news;
  expect(journal.since(journal.id, 0).present).toEqual(["departures.json"]);
});
