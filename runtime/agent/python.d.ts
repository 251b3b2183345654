/** The text of a Python program, which the bundler puts in. */
declare module "*.py" {
  const text: string;
  export default text;
}
