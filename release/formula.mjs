// The Homebrew formula, made with each release.

/** Where releases are published; install.sh names the same place. */
export const RELEASES = "https://github.com/leoflow/leoflow/releases";

const BREW_SYSTEMS = { darwin: "on_macos", linux: "on_linux" };
const BREW_MACHINES = { arm64: "on_arm", x64: "on_intel" };

/** `archives`: { platform, name, sha256 } of each. */
export function formula(version, archives) {
  const systems = Object.entries(BREW_SYSTEMS).flatMap(([system, block]) => {
    const ofSystem = archives.filter(({ platform }) => platform.startsWith(`${system}-`));
    if (ofSystem.length === 0) return [];
    const machines = ofSystem.map(
      ({ platform, name, sha256 }) => `    ${BREW_MACHINES[platform.split("-")[1]]} do
      url "${RELEASES}/download/v${version}/${name}"
      sha256 "${sha256}"
    end`,
    );
    return [`  ${block} do\n${machines.join("\n")}\n  end\n`];
  });
  return `class Leoflow < Formula
  desc "Airflow's DAGs, UI and APIs on an event-driven control plane"
  homepage "https://github.com/leoflow/leoflow"
  version "${version}"
  license "Apache-2.0"

${systems.join("\n")}
  def install
    libexec.install Dir["*"]
    bin.install_symlink Dir[libexec/"bin/*"]
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/leoflow version")
  end
end
`;
}
