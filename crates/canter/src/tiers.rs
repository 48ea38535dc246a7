//! The tiers of the page cache below memory, as the options name them: owns finding the address of the
//! server, also where a variable holds it, and saying what is wrong with it before anything starts.

use canter_base::Fault;
use canter_base::options::{Cache, CacheServer, CacheUrl, Config};
use canter_front::Pages;
use canter_tiers::Folder;

/// The server that several machines share, if one was named.
pub fn server(config: &Config) -> Result<Option<CacheServer>, Fault> {
    let name = match &config.cache_url {
        None => return Ok(None),
        Some(CacheUrl::Server(server)) => return Ok(Some((**server).clone())),
        Some(CacheUrl::Variable(name)) => name,
    };
    let origin = format!("`--cache-url {name}`");
    let text = std::env::var(name).map_err(|_| {
        Fault::usage(format!("the variable `{name}` is not set"))
            .from(origin.clone())
            .hint("set it to the address, or name another variable or the address itself")
    })?;
    CacheServer::read(&text).map(Some).map_err(|wrong| {
        let fault = Fault::usage(format!(
            "the variable `{name}` holds no address of a server: {}",
            wrong.expected
        ));
        let fault = fault.from(origin);
        match wrong.hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        }
    })
}

/// The page cache with its tiers; inside the front's runtime.
pub fn below(pages: Pages, config: &Config) -> Pages {
    if config.cache == Cache::Off {
        return pages;
    }
    let size = config.cache_dir_size.0;
    let folder = config
        .cache_dir
        .clone()
        .map(|path| Folder::start(path, size));
    // What is wrong with the address was said before the front began.
    let server = server(config).ok().flatten();
    pages.above(folder, server)
}
