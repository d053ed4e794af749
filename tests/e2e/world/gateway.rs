//! A gateway process with its files in a folder of its own.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use tempfile::TempDir;

use super::process::{Process, run};
use super::{Answer, PROGRAM, curl, eventually, free_port};

/// The files, ports and, while it runs, the process. Dropped in this order: a process that is
/// there while its folder is removed writes into it.
pub(crate) struct Gateway {
    process: Option<Process>,
    port: u16,
    admin: u16,
    folder: TempDir,
}

impl Gateway {
    /// Starts a gateway with these routes and waits until it is ready.
    pub(crate) fn start(routes: &str) -> Self {
        Self::start_with("", routes)
    }

    /// As [`Gateway::start`], with further lines at the end of `gateway.toml`.
    pub(crate) fn start_with(more: &str, routes: &str) -> Self {
        let mut gateway = Self::prepare(more, routes);
        gateway.launch();
        gateway.wait_ready();
        gateway
    }

    /// Writes the files, starts nothing.
    pub(crate) fn prepare(more: &str, routes: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let gateway = Self { folder, port: free_port(), admin: free_port(), process: None };
        let text = format!(
            r#"routes = "routes.toml"
state = "state"
workers = 2

[admin]
address = "127.0.0.1:{}"

[[listeners]]
address = "127.0.0.1:{}"
{more}
"#,
            gateway.admin, gateway.port
        );
        fs::write(gateway.config(), text).expect("write gateway.toml");
        gateway.edit(routes);
        gateway
    }

    /// Puts further keys into `[admin]`, before the start.
    pub(crate) fn configure_admin(&self, keys: &str) {
        let text = fs::read_to_string(self.config()).expect("read gateway.toml");
        let text = text.replacen("[admin]\n", &format!("[admin]\n{keys}\n"), 1);
        fs::write(self.config(), text).expect("write gateway.toml");
    }

    /// Starts the process, waits for nothing.
    pub(crate) fn launch(&mut self) {
        self.launch_as(Command::new(PROGRAM));
    }

    /// As [`Gateway::launch`], with so many open files at most.
    pub(crate) fn launch_with_open_files(&mut self, most: usize) {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={most}")).arg(PROGRAM);
        self.launch_as(command);
    }

    /// As [`Gateway::launch`], as a service manager does: with variables, and with a socket that is
    /// open already.
    pub(crate) fn launch_as_service(
        &mut self,
        socket: Option<&TcpListener>,
        variables: &[(&str, &str)],
    ) {
        let mut command = Command::new("sh");
        let passing = "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
        let script = socket.map_or("exec \"$@\"", |_| passing);
        command.args(["-c", script, "sh", PROGRAM]).envs(variables.iter().copied());
        let stdin = socket.map_or_else(Stdio::null, |socket| {
            OwnedFd::from(socket.try_clone().expect("share the socket")).into()
        });
        self.launch_with_stdin(command, stdin);
    }

    /// From now on the process may have so many open files.
    pub(crate) fn limit_open_files(&self, most: usize) {
        let limit = format!("--nofile={most}:{most}");
        let limited = run(Command::new("prlimit").args(["--pid", &self.id().to_string(), &limit]));
        assert!(limited.status.success(), "cannot limit the open files");
    }

    /// How many files the process has open.
    pub(crate) fn open_files(&self) -> usize {
        let files = fs::read_dir(format!("/proc/{}/fd", self.id()));
        files.expect("look at its files").count()
    }

    /// The number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// As [`Gateway::launch`], by a command that runs it.
    pub(crate) fn launch_as(&mut self, command: Command) {
        self.launch_with_stdin(command, Stdio::null());
    }

    fn launch_with_stdin(&mut self, mut command: Command, stdin: Stdio) {
        let log = File::create(self.path("log")).expect("make the log file");
        let errors = log.try_clone().expect("share the log file");
        let process = Process::start(
            command.arg("--config").arg(self.config()).stdin(stdin).stdout(log).stderr(errors),
        );
        self.process = Some(process);
    }

    pub(crate) fn wait_ready(&mut self) {
        let ready = eventually(
            "readiness",
            || (self.ended(), self.admin("/readyz").status),
            |(ended, status)| ended.is_some() || *status == 200,
        );
        assert!(ready.0.is_none(), "the gateway did not start:\n{}", self.log());
    }

    /// Writes the routes as an editor does: a new file, renamed over the old one.
    pub(crate) fn edit(&self, routes: &str) {
        let new = self.path("routes.toml.new");
        fs::write(&new, routes).expect("write the routes");
        fs::rename(&new, self.path("routes.toml")).expect("rename the routes");
    }

    /// Writes the routes in place, so that half of the file is there for an instant.
    pub(crate) fn edit_in_place(&self, routes: &str) {
        fs::write(self.path("routes.toml"), routes).expect("write the routes");
    }

    /// A request of a tenant; curl's options may follow.
    pub(crate) fn get(&self, tenant: &str, path: &str, options: &[&str]) -> Answer {
        let header = format!("X-Tenant-ID: {tenant}");
        let url = self.url(path);
        let mut arguments = vec!["--header", &header, &url];
        arguments.extend(options);
        curl(&arguments)
    }

    /// The name of the backend that answers, from its JSON; `None` where none did.
    pub(crate) fn backend(&self, tenant: &str, path: &str) -> Option<String> {
        let answer = self.get(tenant, path, &[]);
        Some(answer.json().get("backend")?.as_str()?.to_owned())
    }

    /// A request to the admin API.
    pub(crate) fn admin(&self, path: &str) -> Answer {
        curl(&[&(self.admin_url() + path)])
    }

    pub(crate) fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin)
    }

    /// The value of a metric without labels, or with exactly these as they are printed.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let metrics = self.admin("/metrics").body;
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        line.trim().parse().ok()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listener())
    }

    pub(crate) fn listener(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.as_ref().expect("it runs").signal(name);
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(Process::ended)
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.as_mut().expect("it was started").wait()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("gateway.toml")
    }

    /// A file in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }
}
