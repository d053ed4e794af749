//! What somebody who visits a site is told, in plain words, and what may help.

pub(super) const NO_SITE: &str =
    "There is no site at this address. Check that it is written as it should be.";
pub(super) const NO_PAGE: &str =
    "There is no page at this address. Check that it is written as it should be.";
pub(super) const SWITCHED_OFF: &str = "This site is switched off.";
pub(super) const MISTAKE: &str =
    "This site is not set up right. Whoever runs it has been told; come back in a while.";
pub(super) const NO_CREDENTIAL: &str =
    "You have no access to this site. Ask whoever runs it for a key.";
pub(super) const NOT_FROM_HERE: &str = "This site is not there for the network that you are in.";
pub(super) const WORK: &str = "This site is being worked on. Come back in a while.";
pub(super) const ODD_REQUEST: &str = "Your browser asked for something that this site cannot do.";
pub(super) const BROKE_OFF: &str =
    "What you were sending did not arrive whole. Look at your connection and try again.";
pub(super) const TOO_LARGE: &str = "What you were sending is larger than this site takes.";
pub(super) const LONG_ADDRESS: &str = "The address of this page is too long.";
pub(super) const OTHER_CONNECTION: &str =
    "Your browser used a connection that was meant for another site. Load the page again.";
pub(super) const MANY: &str = "This site was asked for too much at once. Try again in a moment.";
pub(super) const USED_UP: &str =
    "This site has had all the visits that it may have for now. Come again later.";
pub(super) const COOKIES: &str = "Your browser sent too much about itself. Deleting the cookies of this site \
                       often helps.";
pub(super) const ASTRAY: &str =
    "This site is not set up as it should be. You have done nothing wrong.";
pub(super) const DOWN: &str = "This site cannot be reached at the moment. You have done nothing wrong; try \
                    again in a few minutes.";
pub(super) const BROKEN: &str = "This site could not answer. You have done nothing wrong; try again in a few \
                      minutes.";
pub(super) const SLOW: &str =
    "This site took too long to answer. You have done nothing wrong; try again in a few minutes.";
pub(super) const CROWDED: &str =
    "This site has more to do than it can do at once. Try again in a minute.";
