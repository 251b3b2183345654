import { foldersIn } from "./files";
import type { Folders, ServiceFolders } from "./folders";
import { readProcessRecord } from "./gateway-process";
import { readInstanceRecord } from "./instance-record";
import { reasonOf } from "./journal";
import { readService } from "./service-record";
import { readTargets } from "./targets-file";
import { readWorkstation } from "./workstation-record";

/**
 * Fails with the name of every record that cannot be read, before anything is started, ended or removed by what the others say: a part of
 * what is recorded would let the rest look like left-overs.
 */
export function demandReadable(folders: Folders): void {
  const problems = [
    ...foldersIn(folders.services).flatMap((name) => serviceProblems(folders.service(name))),
    ...foldersIn(folders.workstations).flatMap((name) => problemsOf(() => readWorkstation(folders.workstation(name)))),
  ];
  if (problems.length === 0) return;
  throw new Error(
    `what is recorded in ${folders.directory} cannot be read, so nothing is touched: ${problems.join("; ")}. ` +
      "Bring each file back from a copy, or remove what it is about: an instance is then made anew, a service or workstation is forgotten with all that it has",
  );
}

function serviceProblems(service: ServiceFolders): readonly string[] {
  const instances = foldersIn(service.releases).flatMap((release) =>
    foldersIn(service.instances(release)).map((index) => service.instance(release, Number(index))),
  );
  return [
    () => readService(service),
    () => readProcessRecord(service),
    () => readTargets(service),
    ...instances.map((instance) => () => readInstanceRecord(instance)),
  ].flatMap(problemsOf);
}

function problemsOf(read: () => unknown): readonly string[] {
  try {
    read();
    return [];
  } catch (error) {
    return [reasonOf(error)];
  }
}
