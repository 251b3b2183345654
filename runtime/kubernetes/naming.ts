/** How many of many things a person is told one by one. */
export const mostNamed = 5;

/** The first few, and how many more there are. */
export function named(texts: readonly string[], separator = ", "): string {
  const more = texts.length - mostNamed;
  if (more <= 0) return texts.join(separator);
  return [...texts.slice(0, mostNamed), `${more} more`].join(separator);
}
