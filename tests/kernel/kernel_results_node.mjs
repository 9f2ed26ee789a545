/**
 * node kernel_results_node.mjs FOLDER BUILD: prints the bytes of the results in hexadecimal. FOLDER holds the files that
 * the page fetches.
 */

import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [folder, build] = process.argv.slice(2);
const { runOperations } = await import(pathToFileURL(`${folder}/kernel_results.js`).href);
const inputs = JSON.parse(await readFile(`${folder}/inputs.json`, "utf8"));
for (const name of inputs.arrays) {
  const file = await readFile(`${folder}/${name}.bin`);
  inputs[name] = file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength);
}
const baseline = await readFile(`${folder}/kernel.wasm`);
const relaxed = build === "relaxed" ? await readFile(`${folder}/kernel-relaxed.wasm`) : undefined;
if (relaxed && !WebAssembly.validate(relaxed)) process.stdout.write("unsupported");
else process.stdout.write(Buffer.from(await runOperations({ baseline, relaxed }, inputs)).toString("hex"));
