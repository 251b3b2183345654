/** The oldest Node.js that this package runs on; see `engines` in package.json. */
const oldest = [22, 15] as const;

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major < oldest[0] || (major === oldest[0] && minor < oldest[1])) {
  process.stderr.write(
    `pulumi-comfyui needs Node.js ${oldest.join(".")} or newer, and this is ${process.version}. Install one, for example with: nvm install 24\n`,
  );
  process.exit(1);
}
