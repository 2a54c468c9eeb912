//! The web configuration file, in the format of Prometheus's exporter-toolkit: TLS and passwords of the HTTP listener.
//! Keys of the format that have no effect here are mistakes, as are unknown ones: a restriction that is ignored is none.

use super::Config;
use super::location::Location;
use super::problems::problem;
use super::source::LoadError;
use super::yaml::{self, Entry, Node, Value};
use crate::children::files::FileSession;
use crate::output::http::{CertificateFile, ClientAuth, TlsSettings, WebAccess, WebSettings};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Maximum number of characters of the file; [`MAX_USERS`] need a tenth.
const MAX_TEXT: usize = 64 * 1024;
/// Maximum number of users: many clients are better told apart by certificates, which cost no password check.
const MAX_USERS: usize = 100;
/// Maximum number of names in client_allowed_sans, which are compared one by one.
const MAX_SANS: usize = 100;
/// Maximum number of characters shown of an unknown key.
const MAX_KEY: usize = 64;

const TLS: &str = "tls_server_config";
const USERS: &str = "basic_auth_users";
const TLS_KEYS: &[&str] =
    &["cert_file", "key_file", "client_auth_type", "client_ca_file", "client_allowed_sans", "min_version"];

impl Config {
    /// Reads the web configuration file, if there is one, and the files that it names.
    pub(super) fn read_web_config(&mut self, session: &mut FileSession<'_>) -> Result<(), LoadError> {
        let Some(path) = self.http.web_config_file.clone() else { return Ok(()) };
        // Taken first, so that a change while the files are read is seen as a change.
        self.add_web_file(session, &path)?;
        let draft = parse(&path, &read(session, &path)?)?;
        for file in draft.tls.iter().flat_map(TlsDraft::files) {
            self.add_web_file(session, &file)?;
        }
        let tls = draft.tls.map(|tls| tls.read(session)).transpose()?;
        let settings = WebSettings { tls, users: draft.users };
        let (access, warnings) =
            WebAccess::new(settings).map_err(|(file, text)| vec![problem(&file, &text)])?;
        self.file_warnings.extend(warnings.into_iter().map(|(file, text)| problem(&file, &text)));
        if !access.restricts() {
            self.file_warnings.push(problem(&path, &format!("it has neither {TLS} nor {USERS}")));
        }
        self.http.web_access = Some(Arc::new(access));
        Ok(())
    }

    fn add_web_file(&mut self, session: &mut FileSession<'_>, path: &Path) -> Result<(), LoadError> {
        let fingerprint = session.fingerprint(path).map_err(|error| LoadError::unreadable(path, &error))?;
        self.fingerprints.push(fingerprint);
        self.web_files.push(path.to_owned());
        Ok(())
    }
}

fn read(session: &mut FileSession<'_>, path: &Path) -> Result<Vec<u8>, LoadError> {
    session.read(path).map_err(|error| LoadError::unreadable(path, &error))
}

/// What the file says, before the files that it names are read.
#[derive(Debug, Default)]
struct Draft {
    tls: Option<TlsDraft>,
    users: Vec<(String, String)>,
}

#[derive(Debug)]
struct TlsDraft {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    client_auth: ClientAuth,
    allowed_sans: Option<Vec<String>>,
    only_tls13: bool,
}

impl TlsDraft {
    fn files(&self) -> impl Iterator<Item = PathBuf> {
        [&self.certificate, &self.key].into_iter().chain(&self.client_ca).cloned()
    }

    fn read(self, session: &mut FileSession<'_>) -> Result<TlsSettings, LoadError> {
        let mut file = |path: PathBuf| -> Result<_, LoadError> {
            Ok(CertificateFile { pem: read(session, &path)?, path })
        };
        Ok(TlsSettings {
            certificate: file(self.certificate)?,
            key: file(self.key)?,
            client_ca: self.client_ca.map(file).transpose()?,
            client_auth: self.client_auth,
            allowed_sans: self.allowed_sans,
            only_tls13: self.only_tls13,
        })
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Draft, Vec<String>> {
    let text = str::from_utf8(bytes).map_err(|_| vec![problem(path, "is not UTF-8")])?;
    if text.len() > MAX_TEXT {
        return Err(vec![problem(path, &format!("larger than {} KiB", MAX_TEXT / 1024))]);
    }
    read_root(path, text.trim_start_matches('\u{feff}'))
        .map_err(|(line, text)| vec![Location { file: path.to_path_buf(), line: Some(line) }.problem(&text)])
}

fn read_root(path: &Path, text: &str) -> Result<Draft, yaml::Mistake> {
    let mut draft = Draft::default();
    for Entry { line, key, node } in entries("the file", yaml::parse(text)?)? {
        match &*key {
            TLS => draft.tls = read_tls(path, line, node)?,
            USERS => draft.users = read_users(node)?,
            _ => return Err(unknown(line, "", &key, &[TLS, USERS])),
        }
    }
    Ok(draft)
}

fn read_tls(path: &Path, line: usize, node: Node) -> Result<Option<TlsDraft>, yaml::Mistake> {
    let entries = entries(TLS, node)?;
    if entries.is_empty() {
        return Ok(None);
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    let (mut certificate, mut key, mut client_ca) = (None, None, None);
    let (mut client_auth, mut allowed_sans, mut only_tls13) = (ClientAuth::None, None, false);
    for entry in entries {
        let (line, name) = (entry.line, entry.key);
        let file = |node| Ok(text(&name, node)?.map(|text| directory.join(text)));
        match &*name {
            "cert_file" => certificate = file(entry.node)?,
            "key_file" => key = file(entry.node)?,
            "client_ca_file" => client_ca = file(entry.node)?,
            "client_auth_type" => client_auth = client_auth_type(line, text(&name, entry.node)?.as_deref())?,
            "client_allowed_sans" => allowed_sans = texts(&name, entry.node)?,
            "min_version" => {
                only_tls13 = match text(&name, entry.node)?.as_deref() {
                    None | Some("TLS12") => false,
                    Some("TLS13") => true,
                    Some(other) => {
                        let text = format!("min_version {other} is not supported: use TLS12 or TLS13");
                        return Err((line, text));
                    }
                }
            }
            _ => return Err(unknown(line, TLS, &name, TLS_KEYS)),
        }
    }
    if let Some(conflict) = conflict(client_auth, client_ca.is_some(), allowed_sans.is_some()) {
        return Err((line, conflict.to_owned()));
    }
    let missing = |what: &str| (line, format!("{TLS} needs {what}"));
    Ok(Some(TlsDraft {
        certificate: certificate.ok_or_else(|| missing("cert_file"))?,
        key: key.ok_or_else(|| missing("key_file"))?,
        client_ca,
        client_auth,
        allowed_sans,
        only_tls13,
    }))
}

fn client_auth_type(line: usize, name: Option<&str>) -> Result<ClientAuth, yaml::Mistake> {
    Ok(match name {
        None | Some("NoClientCert") => ClientAuth::None,
        Some("RequestClientCert") => ClientAuth::Request,
        Some("RequireAnyClientCert" | "RequireClientCert") => ClientAuth::RequireAny,
        Some("VerifyClientCertIfGiven") => ClientAuth::VerifyIfGiven,
        Some("RequireAndVerifyClientCert") => ClientAuth::RequireAndVerify,
        Some(other) => {
            let text = format!(
                "client_auth_type {other} is unknown: use NoClientCert, RequestClientCert, RequireAnyClientCert, \
                 VerifyClientCertIfGiven or RequireAndVerifyClientCert"
            );
            return Err((line, text));
        }
    })
}

/// Why these keys do not go together.
fn conflict(auth: ClientAuth, has_ca: bool, has_sans: bool) -> Option<&'static str> {
    if has_ca && auth == ClientAuth::None {
        Some("client_ca_file has no effect without client_auth_type")
    } else if auth.verifies() && !has_ca {
        Some("this client_auth_type needs client_ca_file")
    } else if has_sans && !auth.requires() {
        Some("client_allowed_sans needs client_auth_type RequireAndVerifyClientCert or RequireAnyClientCert")
    } else {
        None
    }
}

/// Names, with the hashes of their passwords.
fn read_users(node: Node) -> Result<Vec<(String, String)>, yaml::Mistake> {
    let mut users = Vec::new();
    for Entry { line, key: name, node } in entries(USERS, node)? {
        if name.is_empty() || name.contains(':') {
            return Err((line, format!("{USERS}: a name must not be empty or contain a colon")));
        }
        let hash = text(&name, node)?.unwrap_or_default();
        WebAccess::check_hash(&hash)
            .map_err(|why| (line, format!("{USERS}: the password of {name} {why}")))?;
        users.push((name, hash));
        if users.len() > MAX_USERS {
            return Err((line, format!("{USERS}: more than {MAX_USERS} users")));
        }
    }
    Ok(users)
}

fn unknown(line: usize, table: &str, key: &str, known: &[&str]) -> yaml::Mistake {
    let key: String = key.chars().take(MAX_KEY).collect();
    let of = if table.is_empty() { String::new() } else { format!(" of {table}") };
    (line, format!("unknown key {key}{of}; supported are {}", known.join(", ")))
}

fn entries(name: &str, node: Node) -> Result<Vec<Entry>, yaml::Mistake> {
    match node.value {
        Value::None => Ok(Vec::new()),
        Value::Map(entries) => Ok(entries),
        Value::Text(_) | Value::List(_) => Err((node.line, format!("{name} must have keys with values"))),
    }
}

fn text(name: &str, node: Node) -> Result<Option<String>, yaml::Mistake> {
    match node.value {
        Value::None => Ok(None),
        Value::Text(text) if text.is_empty() => Ok(None),
        Value::Text(text) => Ok(Some(text)),
        Value::List(_) | Value::Map(_) => Err((node.line, format!("{name} must be a text"))),
    }
}

fn texts(name: &str, node: Node) -> Result<Option<Vec<String>>, yaml::Mistake> {
    let line = node.line;
    let items = match node.value {
        Value::None => return Ok(None),
        Value::List(items) if items.is_empty() => return Ok(None), // as it is for Prometheus
        Value::List(items) if items.len() <= MAX_SANS => items,
        Value::List(_) => return Err((line, format!("{name} has more than {MAX_SANS} texts"))),
        _ => return Err((line, format!("{name} must be a list of texts"))),
    };
    let item = |node: Node| {
        let line = node.line;
        text(name, node)?.ok_or_else(|| (line, format!("{name} has an empty text")))
    };
    items.into_iter().map(item).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$04$abcdefghijklmnopqrstuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu";

    fn draft(text: &str) -> Result<Draft, Vec<String>> {
        parse(Path::new("/etc/msm/web.yml"), text.as_bytes())
    }

    #[test]
    fn paths_start_in_the_directory_of_the_file() {
        let tls = draft("tls_server_config:\n  cert_file: a.pem\n  key_file: /b.pem\n").unwrap().tls.unwrap();
        assert_eq!(tls.files().collect::<Vec<_>>(), [PathBuf::from("/etc/msm/a.pem"), "/b.pem".into()]);
        assert!(tls.client_auth == ClientAuth::None && !tls.only_tls13);
    }

    #[test]
    fn empty_list_of_names_restricts_nothing() {
        let text = "tls_server_config:\n  cert_file: a\n  key_file: b\n  client_allowed_sans: []\n";
        assert_eq!(draft(text).unwrap().tls.unwrap().allowed_sans, None);
    }

    #[test]
    fn each_client_auth_type_is_known() {
        use ClientAuth::{None, Request, RequireAndVerify, RequireAny, VerifyIfGiven};
        for (name, auth, needs_ca) in [
            ("NoClientCert", None, false),
            ("RequestClientCert", Request, false),
            ("RequireAnyClientCert", RequireAny, false),
            ("RequireClientCert", RequireAny, false),
            ("VerifyClientCertIfGiven", VerifyIfGiven, true),
            ("RequireAndVerifyClientCert", RequireAndVerify, true),
        ] {
            let ca = if needs_ca { "  client_ca_file: c\n" } else { "" };
            let text = format!(
                "tls_server_config:\n  cert_file: a\n  key_file: b\n  client_auth_type: {name}\n{ca}"
            );
            assert!(draft(&text).unwrap().tls.unwrap().client_auth == auth, "{name}");
        }
    }

    #[test]
    fn nothing_is_valid() {
        for text in ["", "# nothing\n", "tls_server_config:\nbasic_auth_users:\n", "tls_server_config: {}\n"]
        {
            let draft = draft(text).unwrap();
            assert!(draft.tls.is_none() && draft.users.is_empty(), "{text}");
        }
    }

    #[test]
    fn each_mistake_is_named_with_its_line() {
        let tls = "tls_server_config:\n  cert_file: a\n  key_file: b\n";
        for (text, line, part) in [
            (
                "http_server_config: {http2: false}\n".to_owned(),
                1,
                "unknown key http_server_config; supported are",
            ),
            ("rate_limit:\n  burst: 1\n".into(), 1, "unknown key rate_limit"),
            (format!("{tls}  max_version: TLS13\n"), 4, "unknown key max_version of tls_server_config"),
            (format!("{tls}  cipher_suites: []\n"), 4, "unknown key cipher_suites"),
            (format!("{tls}  min_version: TLS10\n"), 4, "min_version TLS10 is not supported"),
            (format!("{tls}  client_auth_type: Maybe\n"), 4, "client_auth_type Maybe is unknown"),
            (format!("{tls}  client_ca_file: c\n"), 1, "client_ca_file has no effect"),
            (format!("{tls}  client_auth_type: RequireAndVerifyClientCert\n"), 1, "needs client_ca_file"),
            (format!("{tls}  client_auth_type: VerifyClientCertIfGiven\n"), 1, "needs client_ca_file"),
            (format!("{tls}  client_allowed_sans: [a]\n"), 1, "client_allowed_sans needs client_auth_type"),
            (format!("{tls}  client_allowed_sans: a\n"), 4, "must be a list of texts"),
            ("tls_server_config:\n  cert_file: a\n".into(), 1, "tls_server_config needs key_file"),
            ("tls_server_config:\n  min_version: TLS13\n".into(), 1, "needs cert_file"),
            ("basic_auth_users:\n  a: secret\n".into(), 2, "the password of a is not a bcrypt hash"),
            (
                format!("basic_auth_users:\n  a: {}\n", HASH.replace("04", "17")),
                2,
                "of a has a cost of more than",
            ),
            (format!("basic_auth_users:\n  'a:b': {HASH}\n"), 2, "must not be empty or contain a colon"),
            (format!("basic_auth_users:\n  a: {HASH}\n  a: {HASH}\n"), 3, "a is there twice"),
            ("- a\n".into(), 1, "the file must have keys"),
        ] {
            let problems = draft(&text).unwrap_err();
            let start = format!("/etc/msm/web.yml:{line}: ");
            assert!(problems.len() == 1 && problems[0].starts_with(&start), "{text}: {problems:?}");
            assert!(problems[0].contains(part), "{text}: {problems:?}");
            assert!(!problems[0].contains("secret"), "{problems:?}");
        }
    }

    #[test]
    fn number_of_users_and_size_are_limited() {
        let users = |count: usize| (0..count).map(|n| format!("  u{n}: {HASH}\n")).collect::<String>();
        assert_eq!(
            draft(&format!("basic_auth_users:\n{}", users(MAX_USERS))).unwrap().users.len(),
            MAX_USERS
        );
        assert!(
            draft(&format!("basic_auth_users:\n{}", users(MAX_USERS + 1))).unwrap_err()[0]
                .contains("more than 100")
        );
        assert!(draft(&"#".repeat(MAX_TEXT + 1)).unwrap_err()[0].contains("larger than 64 KiB"));
    }
}
