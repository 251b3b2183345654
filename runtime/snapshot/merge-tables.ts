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
  eachRange(lists, (slice, from, to) => {
    if (from === null) slice.done?.();
    else builder.addRows(slice.table, from, to);
    return true;
  });
  return new EntryTable(builder.data());
}

/** True where {@link mergeTables} would give a table equal to this one. Makes none, and does not call the slices done. */
export function mergeIsEqual(lists: readonly (readonly TableSlice[])[], expected: EntryTable): boolean {
  let place: TablePlace = { row: 0, text: 0, link: 0 };
  const isEqual = eachRange(lists, ({ table }, from, to) => {
    if (from === null) return true;
    const before = place;
    place = {
      row: before.row + to.row - from.row,
      text: before.text + to.text - from.text,
      link: before.link + to.link - from.link,
    };
    return table.hasRowsOf(from, to, expected, before);
  });
  const end = endOf(expected);
  return isEqual && place.row === end.row && place.text === end.text && place.link === end.link;
}

/**
 * Calls back with the rows of all lists in the order of their paths, some at a time, and with null where a slice is over; until it is
 * answered false. Returns whether it came to the end.
 */
function eachRange(lists: readonly (readonly TableSlice[])[], take: TakeRange): boolean {
  const streams = lists.map((list) => new SliceStream(list, take)).filter(({ isOver }) => !isOver);
  for (;;) {
    streams.sort((a, b) => compareBytes(a.path, b.path));
    const [first, second] = streams;
    if (first === undefined) return true;
    if (!first.take(second?.path)) return false;
    if (first.isOver) streams.shift();
  }
}

type TakeRange = (slice: TableSlice, from: TablePlace | null, to: TablePlace) => boolean;

/** Goes through the slices of a list. */
class SliceStream {
  /** The path of the next row. */
  path = "";
  readonly #slices: readonly TableSlice[];
  readonly #take: TakeRange;
  #slice = -1;
  #place: TablePlace = { row: 0, text: 0, link: 0 };

  constructor(slices: readonly TableSlice[], take: TakeRange) {
    this.#slices = slices;
    this.#take = take;
    this.#next();
  }

  get isOver(): boolean {
    return this.#slice === this.#slices.length;
  }

  /** Takes what is left of the present slice, as far as it lies before a path. Returns what that was answered with. */
  take(before: string | undefined): boolean {
    const slice = this.#slices[this.#slice];
    if (slice === undefined) return true;
    const { table, to } = slice;
    const row = before === undefined ? to.row : Math.min(table.lowerBound(before, this.#place.row), to.row);
    const place = row === to.row ? to : placeOf(table, row, this.#place);
    const goesOn = this.#take(slice, this.#place, place);
    this.#place = place;
    if (place === to) this.#next();
    else this.path = table.path(row);
    return goesOn;
  }

  #next(): void {
    for (;;) {
      const before = this.#slices[this.#slice];
      if (before !== undefined) this.#take(before, null, before.to);
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
  for (let next = before.row; next < row; next++) if (table.isLink(next)) link += 1;
  return { row, text: table.textOffset(row), link };
}
