import { join } from "node:path";

/** Where the supervisor of a directory keeps things. Every path that it writes to is named here. */
export class Folders {
  constructor(readonly directory: string) {}

  /** Where its socket is, and who it is. */
  get presence(): string {
    return join(this.directory, "supervisor.json");
  }
  get log(): string {
    return join(this.directory, "supervisor.log");
  }
  get services(): string {
    return join(this.directory, "services");
  }
  get workstations(): string {
    return join(this.directory, "workstations");
  }
  /** Complete restores, one for each manifest digest. */
  get cache(): string {
    return join(this.directory, "cache");
  }
  service(name: string): ServiceFolders {
    return new ServiceFolders(join(this.services, name));
  }
  workstation(name: string): WorkstationFolders {
    return new WorkstationFolders(join(this.workstations, name));
  }
}

export class ServiceFolders {
  constructor(readonly root: string) {}

  get record(): string {
    return join(this.root, "service.json");
  }
  get deployerToken(): string {
    return join(this.root, "deployer-token");
  }
  get gateway(): string {
    return join(this.root, "gateway");
  }
  get targets(): string {
    return join(this.gateway, "targets.json");
  }
  get gatewaySettings(): string {
    return join(this.gateway, "settings.json");
  }
  get gatewayProcess(): string {
    return join(this.gateway, "process.json");
  }
  get gatewayLog(): string {
    return join(this.gateway, "gateway.log");
  }
  get releases(): string {
    return join(this.root, "releases");
  }
  release(id: string): string {
    return join(this.releases, id);
  }
  instances(release: string): string {
    return join(this.release(release), "instances");
  }
  instance(release: string, index: number): InstanceFolders {
    return new InstanceFolders(join(this.instances(release), String(index)));
  }
}

export class InstanceFolders {
  constructor(readonly root: string) {}

  get record(): string {
    return join(this.root, "instance.json");
  }
  /** What the restore found out, kept so that a restart needs no store. */
  get restored(): string {
    return join(this.root, "restored.json");
  }
  get environment(): string {
    return join(this.root, "environment");
  }
  get input(): string {
    return join(this.root, "input");
  }
  get output(): string {
    return join(this.root, "output");
  }
  get temp(): string {
    return join(this.root, "temp");
  }
  get user(): string {
    return join(this.root, "user");
  }
  get log(): string {
    return join(this.root, "comfyui.log");
  }
}

export class WorkstationFolders {
  constructor(readonly root: string) {}

  get record(): string {
    return join(this.root, "workstation.json");
  }
  get log(): string {
    return join(this.root, "comfyui.log");
  }
}
