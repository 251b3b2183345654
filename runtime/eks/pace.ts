/** Milliseconds of the first pause and of the longest: a node takes minutes, and EKS counts the requests of a whole account. */
const [first, longest] = [500, 5_000];

/** Pauses between looks that grow, and differ from everybody else's. */
export function pace(): () => number {
  let pause = first;
  return () => {
    const now = pause * (0.75 + Math.random() / 2);
    pause = Math.min(longest, pause * 1.4);
    return now;
  };
}
