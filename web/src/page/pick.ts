// Directories that the page's user picks for the machine's shares: `-virtfs local,path=pick:NAME,..`.

export type Directories = Record<string, FileSystemDirectoryHandle>;

type Picker = (options: { id: string; mode: "readwrite" }) => Promise<FileSystemDirectoryHandle>;

/** The paths of shares that the user is to pick; two commas are one of a path. */
export function wanted(options: readonly string[]): string[] {
  const paths = options.map((option) => /(?:^|,)path=(pick:(?:[^,]|,,)*)/.exec(option)?.[1]?.replaceAll(",,", ","));
  return paths.filter((path) => path !== undefined);
}

/**
 * Has the user pick the directories of those shares that `given` does not have. A browser opens its picker only upon a click:
 * `asked` shows what is wanted, and resolves when the user has clicked. Throws one clear message.
 */
export async function pickDirectories(
  options: readonly string[],
  given: Readonly<Directories>,
  asked: (heading: string, text: string, button: string) => Promise<void>,
): Promise<Directories> {
  const directories = { ...given };
  for (const path of wanted(options)) {
    const name = path.slice("pick:".length);
    const heading = `Which directory is ${name === "" ? "shared" : name}?`;
    let text = "The machine will read and change what is in it, nothing else. It stays on this computer.";
    while (!Object.hasOwn(directories, path)) {
      const picker = (window as { showDirectoryPicker?: Picker }).showDirectoryPicker;
      if (!picker) {
        throw new Error(
          `This browser gives pages no directories (Chromium does): path=${path}. What is in path=opfs:NAME is kept by any browser.`,
        );
      }
      await asked(heading, text, "Choose a directory");
      try {
        directories[path] = await picker({ id: "pagevm", mode: "readwrite" });
      } catch (error) {
        if (!(error instanceof DOMException)) throw error;
        text = error.name === "AbortError" ? "No directory was chosen." : error.message;
      }
    }
  }
  return directories;
}
