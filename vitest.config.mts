import { configDefaults, defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // `npm run test:cluster` runs those.
    exclude: [...configDefaults.exclude, "test/cluster/**"],
    // For machines that do much else: what takes this long hangs.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    maxWorkers: 2,
  },
});
