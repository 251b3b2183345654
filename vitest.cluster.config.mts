import { defineConfig } from "vitest/config";

/** What needs a cluster; `npm run test:cluster` runs it. */
export default defineConfig({
  test: {
    include: ["test/cluster/**/*.test.ts"],
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // The files share the cluster, and some take it apart.
    fileParallelism: false,
  },
});
