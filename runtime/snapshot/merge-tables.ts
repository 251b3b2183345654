import type { TablePlace } from "./entry-record";
import { EntryTable } from "./entry-table";
import { EntryTableBuilder } from "./entry-table-builder";
import { compareBytes } from "./paths";

/** Some rows of a table that follow one another. */
export interface TableSlice {
  readonly table: EntryTable;
  readonly from: TablePlace;
  readonly to: TablePlace;
  /** Called once the slice is not used any more. */
  readonly done?: () => void;
}

export function wholeOf(table: EntryTable): TableSlice {
  return { table, from: { row: 0, text: 0, link: 0 }, to: endOf(table) };
}

export function endOf({ length, text, targets }: EntryTable): TablePlace {
  return { row: length, text: text.length, link: targets.length };
}

/**
 * Joins rows into one sorted table. Each of the `lists` holds slices that are sorted, as they follow one another; no path is in more
 * than one.
 */
export function mergeTables(lists: readonly (readonly TableSlice[])[]): EntryTable {
  const sum = (sizeOf: (slice: TableSlice) => number) =>
    lists.reduce((total, list) => list.reduce((subtotal, slice) => subtotal + sizeOf(slice), total), 0);
  const builder = new EntryTableBuilder({
    rows: sum(({ from, to }) => to.row - from.row),
    text: sum(({ from, to }) => to.text - from.text),
  });
  const streams = lists.map((list) => new SliceStream(list)).filter(({ isOver }) => !isOver);
  for (;;) {
    streams.sort((a, b) => compareBytes(a.path, b.path));
    const [first, second] = streams;
    if (first === undefined) return new EntryTable(builder.data());
    first.take(builder, second?.path);
    if (first.isOver) streams.shift();
  }
}

/** Goes through the slices of a list. */
class SliceStream {
  /** The path of the next row. */
  path = "";
  readonly #slices: readonly TableSlice[];
  #slice = -1;
  #place: TablePlace = { row: 0, text: 0, link: 0 };

  constructor(slices: readonly TableSlice[]) {
    this.#slices = slices;
    this.#next();
  }

  get isOver(): boolean {
    return this.#slice === this.#slices.length;
  }

  /** Adds what is left of the present slice, as far as it lies before a path. */
  take(builder: EntryTableBuilder, before: string | undefined): void {
    const slice = this.#slices[this.#slice];
    if (slice === undefined) return;
    const { table, to } = slice;
    const row = before === undefined ? to.row : Math.min(table.lowerBound(before, this.#place.row), to.row);
    const place = row === to.row ? to : placeOf(table, row, this.#place);
    builder.addRows(table, this.#place, place);
    this.#place = place;
    if (place === to) this.#next();
    else this.path = table.path(row);
  }

  #next(): void {
    for (;;) {
      this.#slices[this.#slice]?.done?.();
      this.#slice += 1;
      const slice = this.#slices[this.#slice];
      if (slice === undefined) return;
      if (slice.from.row === slice.to.row) continue;
      this.#place = slice.from;
      this.path = slice.table.path(slice.from.row);
      return;
    }
  }
}

function placeOf(table: EntryTable, row: number, before: TablePlace): TablePlace {
  let { link } = before;
  for (let next = before.row; next < row; next++) if (table.type(next) === "link") link += 1;
  return { row, text: table.textOffset(row), link };
}
