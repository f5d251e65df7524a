"""The steps of a mention: seen → queued → colored → replied; or refused, given up, erased."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import httpx

from autochrome import (
    Autochrome,
    AutochromeError,
    BusyError,
    NotAllowedError,
    NotFoundError,
    UnavailableError,
)
from bot import replies
from bot.albums import Albums
from bot.database import Database
from bot.forwarding import ForwardingError, Topic, forward, is_from_person, topic_of
from bot.images import ImageLink, UnreachableError, albums_in, linked_post, post_of
from bot.models import Comment, Mention, Message, Post, State, Task
from bot.outbox import Eraser, Outbox, Picture
from bot.policy import DAY, Color, Context, Erase, Ignore, Policy, Refuse, Say, Wait
from bot.reddit import (
    ForbiddenError,
    HeldError,
    NoAnswerError,
    Reddit,
    RedditError,
    SignInError,
    ThrottledError,
)
from bot.replies import IN_PRIVATE, NO_DETAILS, ColoredImage, Details, Reason
from bot.settings import Settings
from bot.tasks import InColorError, NotColoredError, Tasks
from bot.uploads import Uploader

MAX_ATTEMPTS = 8
"""Failures of one mention that nobody knows the reason of, until it is given up."""
MAX_LINK_ATTEMPTS = 3
"""Failures after which a share link that Reddit does not answer to counts as one that leads nowhere."""
LOOK_AGAIN = 1.0
"""Seconds until a job that is not done is looked at again, or a picture or a reply that another mention waits for."""
_REASONS = {"THREAD_LOCKED": Reason.LOCKED, "TOO_OLD": Reason.ARCHIVED}
"""Of Reddit's codes."""
log = logging.getLogger("autochrome.bot")


class MentionHandler:
    """Takes the next step of each mention that is due."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        reddit: Reddit,
        service: Autochrome,
        web: httpx.Client,
        policy: Policy,
        eraser: Eraser,
        outbox: Outbox,
        uploader: Uploader,
        clock: Callable[[], float],
    ) -> None:
        """`web`: for pictures."""
        self._settings = settings
        self._database = database
        self._reddit = reddit
        self._service = service
        self._policy = policy
        self._eraser = eraser
        self._clock = clock
        self._unanswered = 0
        """Steps in a row that Reddit did not answer."""
        self._shares: dict[str, str] = {}
        """Share link → fullname of the post, as far as asked for."""
        self._outbox = outbox
        self._uploader = uploader
        self._albums = Albums(settings, web, clock)
        self._tasks = Tasks(settings, database, service, web, eraser, clock)

    def advance(self, due: Sequence[Mention], inbox: dict[str, Comment | Message]) -> None:
        """All of them: first each is begun, so that the service has many at once; then each is brought to its end.

        `inbox`: what was last read there, for what Reddit does not show by its name. Raises ThrottledError and SignInError,
        and NoAnswerError where two in a row get no answer: of one it may be that thread alone. Whatever else goes wrong
        with one is noted with it.
        """
        self._unanswered = 0
        # Before the others are looked at, which may be about what was said.
        for mention in (it for it in due if it.state == State.REPLYING):
            self._guarded(Context(mention, None, None, None), self._resume)
        others = [it for it in due if it.state != State.REPLYING]
        contexts = self._contexts(
            [it for it in others if it.state != State.QUEUED or self._is_over(it)], inbox
        )
        for context in contexts:
            if context.mention.state == State.SEEN:
                self._guarded(context, self._begin)
        for context in contexts:
            now = self._database.mention(context.mention.fullname)
            if now and now.state in (State.QUEUED, State.COLORED) and now.due_at <= self._clock():
                self._guarded(replace(context, mention=now), self._finish)

    def _is_over(self, mention: Mention) -> bool:
        """Whether its jobs are; a look at the service is cheaper than one at Reddit."""
        try:
            tasks = self._database.tasks(mention.fullname)
            if all(self._service.get(task.job_id).is_over for task in tasks):
                return True
        except AutochromeError:
            return True
        self._look_again(mention, State.QUEUED)
        return False

    def _contexts(self, due: Sequence[Mention], inbox: dict[str, Comment | Message]) -> list[Context]:
        """Asked for a hundred at once: the comments, then what they belong to, then what those answered."""
        found: dict[str, Post | Comment | None] = {}

        def fetch(names: Iterable[str]) -> None:
            wanted = [
                name for name in dict.fromkeys(names) if name[:3] in ("t1_", "t3_") and name not in found
            ]
            if wanted:
                found.update(dict.fromkeys(wanted) | self._reddit.info(wanted))

        def comment(name: str) -> Comment | None:
            thing = found.get(name)
            return thing if isinstance(thing, Comment) else None

        fetch(name for mention in due for name in (mention.fullname, mention.post))
        parents = {it.fullname: known.parent for it in due if (known := comment(it.fullname))}
        earlier = {
            name: before
            for name, parent in parents.items()
            if (before := self._database.replied_with(parent))
        }
        before_names = [name for it in earlier.values() for name in (it.fullname, it.shown_in)]
        fetch([*parents.values(), *before_names])
        earlier_comments = {name: comment(before.fullname) for name, before in earlier.items()}
        fetch(it.parent for it in earlier_comments.values() if it)
        links: dict[str, str] = {}
        put_off: set[str] = set()
        albums: dict[str, Mapping[str, Sequence[str]]] = {}
        for mention in due:
            request, post = comment(mention.fullname), found.get(mention.post)
            if request is not None and isinstance(post, Post):
                first = earlier_comments.get(mention.fullname)
                body = f"{request.body}\n\n{first.body}" if first else request.body
                parent = comment((first or request).parent)
                try:
                    links[mention.fullname] = self._linked(body, parent, post)
                except NoAnswerError as error:  # perhaps only to this link
                    log.warning("link_failed mention=%s error=%s", mention.fullname, type(error).__name__)
                    if mention.failed("link") < MAX_LINK_ATTEMPTS:
                        self._outbox.postpone(mention, mention.state, "link")
                        put_off.add(mention.fullname)
                        continue
                if mention.state == State.SEEN:
                    albums[mention.fullname] = self._albums.open(albums_in(body, parent, post))
        fetch(links.values())
        contexts = []
        for mention in due:
            name = mention.fullname
            if name in put_off:
                continue
            post = found.get(mention.post)
            earlier_comment = earlier_comments.get(name)
            linked = found.get(links.get(name, ""))
            written: Comment | Message | None = comment(name)
            if written is None and not isinstance(post, Post):
                written = inbox.get(name)
            contexts.append(
                Context(
                    mention,
                    written,
                    comment(parents.get(name, "")),
                    post if isinstance(post, Post) else None,
                    earlier.get(name),
                    earlier_comment,
                    comment(earlier_comment.parent) if earlier_comment else None,
                    found.get(earlier[name].shown_in) if name in earlier else None,
                    linked if isinstance(linked, Post) else None,
                    albums.get(name, {}),
                )
            )
        return contexts

    def _linked(self, body: str, parent: Comment | None, post: Post) -> str:
        """Fullname of the other post that a mention leads to; "" where none. Where a share link leads Reddit is asked once."""
        link = linked_post(body, parent, post)
        if not link.startswith("http"):
            return link
        if link not in self._shares:
            self._shares[link] = post_of(self._reddit.resolve(link))
        return self._shares[link]

    def _guarded(self, context: Context, step: Callable[[Context], None]) -> None:
        """A step of which no failure stops the others, but such as they all would meet."""
        name = context.mention.fullname
        try:
            step(context)
            self._unanswered = 0
        except HeldError as error:
            mention = self._database.mention(name) or context.mention
            now = self._clock()
            self._database.update(name, mention.state, now, due_at=now + error.seconds)
        except (ThrottledError, SignInError):
            raise
        except NoAnswerError as error:
            mention = self._database.mention(name) or context.mention
            if self._is_hopeless(mention) and mention.state != State.REPLYING:
                self._put_off(context, Reason.FAILED, max_attempts=0)
            else:
                self._outbox.postpone(mention, mention.state, "no_answer")
            self._unanswered += 1
            if self._unanswered > 1:
                raise
            log.warning("mention_postponed mention=%s error=%s", name, type(error).__name__)
        except NotColoredError as error:
            reason, details = error.reason, error.details
            self._guarded(context, lambda it: self._refuse(it, reason, details))
        except NotAllowedError as error:  # that is ours to set right, and nothing for people to read
            log.error("service_refused setting=BOT_SERVICE_KEY detail=%r", error.detail)
            self._put_off(context, Reason.BUSY, max_attempts=None)
        except (BusyError, UnavailableError, UnreachableError) as error:
            log.warning("mention_postponed mention=%s error=%s", name, type(error).__name__)
            self._put_off(context, Reason.BUSY, max_attempts=None)
        except (AutochromeError, RedditError) as error:
            log.warning("mention_failed mention=%s error=%s", name, type(error).__name__)
            self._put_off(context, Reason.FAILED, max_attempts=MAX_ATTEMPTS)
        except Exception as error:  # a fault of ours: its words may hold what nobody may read in a log
            log.error("mention_failed mention=%s error=%s at=%s", name, type(error).__name__, place_of(error))
            self._put_off(context, Reason.FAILED, max_attempts=MAX_ATTEMPTS)

    def _put_off(self, context: Context, reason: Reason, max_attempts: int | None) -> None:
        """Again later, or never: after so many attempts, and when it is too old."""
        mention = self._database.mention(context.mention.fullname) or context.mention
        if not self._is_old(mention) and (max_attempts is None or mention.failed(reason) < max_attempts):
            self._outbox.postpone(mention, mention.state, reason)
            return
        command = self._policy.command(context.request) if context.request else None
        if command is not None and command.kind == "delete":
            reason = Reason.NOT_DELETED
        if mention.giving_up == reason:  # not even that could be said
            self._give_up(mention, reason)
        else:
            self._database.update(mention.fullname, mention.state, self._clock(), giving_up=reason)
            context = replace(context, mention=mention)
            self._guarded(context, lambda it: self._refuse(it, reason))

    def _is_old(self, mention: Mention) -> bool:
        return self._clock() > mention.seen_at + self._settings.bot_retry_for

    def _is_hopeless(self, mention: Mention) -> bool:
        """Whether Reddit has not answered to it for as long as it is retried.

        Not at the first failure: what waited for days while comments were held back is to be tried more than once.
        """
        return self._is_old(mention) and mention.failed("no_answer") >= MAX_ATTEMPTS

    def _look_again(self, mention: Mention, state: State) -> None:
        now = self._clock()
        self._database.update(mention.fullname, state, now, due_at=now + LOOK_AGAIN)

    def _resume(self, context: Context) -> None:
        self._outbox.resume(context.mention)
        now = self._database.mention(context.mention.fullname)
        if now and now.state in (State.SEEN, State.COLORED) and self._is_hopeless(now):  # it was not said
            self._give_up(now, "no_answer")
        self._delete_tasks_when_over(context.mention)

    # From seen to queued.

    def _begin(self, context: Context) -> None:
        mention = context.mention
        request = context.request
        if request is not None and not self._policy.is_request(request) and (topic := topic_of(request)):
            self._forward(mention, request, topic)
            return
        decision = self._policy.decide(context)
        match decision:
            case Ignore("nothing_asked") if request is not None and (topic := topic_of(request)):
                self._forward(mention, request, topic)
            case Ignore(outcome):
                self._give_up(mention, outcome)
            case Refuse(reason, details):
                self._refuse(context, reason, details)
            case Say(text, outcome):
                self._eraser.try_to_delete_tasks(mention.fullname)  # it may have asked for a picture before
                self._reply(context, text, outcome, State.REPLIED)
            case Erase(target):
                self._eraser.erase(target)
                self._database.erase(mention.fullname)
            case Wait(uncertain):
                due_at = max(uncertain.due_at, self._clock() + LOOK_AGAIN)
                self._database.update(mention.fullname, State.SEEN, self._clock(), due_at=due_at)
            case Color():
                self._color(context, decision)

    def _forward(self, mention: Mention, written: Comment | Message, topic: Topic) -> None:
        """To the operator; who wrote a message is told so once a day."""
        now = self._clock()
        if mention.outcome != "forwarded":
            webhook = self._settings.bot_operator_webhook.get_secret_value()
            try:
                forward(written, topic, webhook)
            except ForwardingError as error:
                log.error("forwarding_failed entry=%s topic=%s error=%s", mention.fullname, topic, error)
                if not self._is_old(mention):
                    self._outbox.postpone(mention, State.SEEN, "webhook")
                    return
            self._database.update(mention.fullname, State.SEEN, now, outcome="forwarded")
            mention = replace(mention, outcome="forwarded")
        if isinstance(written, Message) and topic != "ban" and self._is_thanks_due(mention, written):
            self._outbox.reply(mention, replies.forwarded(), "thanked", State.REFUSED)
        else:
            self._give_up(mention, "forwarded")

    def _is_thanks_due(self, mention: Mention, message: Message) -> bool:
        since = self._clock() - DAY
        if message.subreddit:
            return not self._database.count("subreddit", mention.subreddit.lower(), since, "thanked")
        if not is_from_person(message) or self._database.has_opted_out("user", mention.author_hash):
            return False
        return not self._database.count("author_hash", mention.author_hash, since, "thanked")

    def _color(self, context: Context, wanted: Color) -> None:
        """Send the pictures to the service, unless somebody was faster in this thread."""
        mention = context.mention
        free: list[ImageLink] = []
        for image in wanted.images:
            owner = self._database.claim(mention.post, image.url, wanted.command.vividness, mention.fullname)
            if owner == mention.fullname:
                free.append(image)
                continue
            earlier = self._database.mention(owner)
            if earlier is None or earlier.state != State.REPLIED:
                self._database.release(mention.fullname)
                self._look_again(mention, State.SEEN)
                return
            if len(wanted.images) == 1 or (not free and image is wanted.images[-1]):
                if self._policy.has_said_enough(mention, "again"):
                    self._give_up(mention, "again")
                    return
                duplicate = {"duplicate_of": earlier.fullname}
                self._database.update(mention.fullname, State.SEEN, self._clock(), **duplicate)
                self._reply(context, replies.already_colored(earlier.reply_link), "again", State.REPLIED)
                return
        started = self._tasks.start(mention, wanted, free)
        for task in self._database.tasks(mention.fullname):  # of a try whose picture has changed since
            if task.job_id not in started:
                self._eraser.delete_task(task)
        # What was uploaded before shows another picture, perhaps, or other colors.
        begun = {"shown_in": wanted.shown_in, "media": ""}
        self._database.update(mention.fullname, State.QUEUED, self._clock(), **begun)
        log.info("mention_queued mention=%s images=%d", mention.fullname, len(started))

    # From queued to replied.

    def _finish(self, context: Context) -> None:
        """When none of its pictures is worked on any more, say what has become of them."""
        mention = context.mention
        if context.request is None or (isinstance(context.request, Comment) and context.request.removed):
            self._give_up(mention, "gone")
            return
        command = self._policy.command(context.request)  # it may have been edited meanwhile
        if command is None or command.kind == "delete":
            self._give_up(mention, "withdrawn")
            return
        if command.kind in ("opt_out", "opt_in"):  # no picture is waited for any more
            self._database.update(mention.fullname, State.SEEN, self._clock())
            return
        if reason := self._policy.withdrawn(context):
            self._give_up(mention, reason)
            return
        if context.post is None or any(it.removed for it in context.post.origins):
            raise NotColoredError(Reason.REMOVED if context.post else Reason.PRIVATE)
        try:
            done = self._tasks.done(mention.fullname)
        except NotFoundError:  # the service has lost its memory: once more from the beginning
            self._outbox.postpone(mention, State.SEEN, "job_lost")
            return
        except InColorError as error:
            self._say_in_color(context, error.task)
            return
        if done is None:
            self._look_again(mention, State.QUEUED)
            return
        mention = replace(mention, state=State.COLORED)
        self._database.update(mention.fullname, State.COLORED, self._clock())
        task, job = done[0]
        pages = f"{self._settings.link_url}/photos"
        posted = "" if mention.shown_in in (context.post.fullname, "") else _post_link(mention.shown_in)
        text = replies.colored(
            [
                ColoredImage(f"{pages}/{it.job_id}", it.image_url, it.position, it.from_preview, posted)
                for it, _ in done
            ],
            keep_for=job.expires_at.timestamp() - self._clock(),
            total=task.total,
            vividness=task.vividness,
        )
        picture: Picture | None = None
        self._outbox.check("comment")
        # Reddit's own editor takes one picture in a comment.
        if len(done) == 1 and self._settings.bot_pictures and (media := self._uploader.upload(mention, job)):
            picture = Picture(media, replies.alt_text(context.post.title))
        self._reply(replace(context, mention=mention), text, "colored", State.REPLIED, picture)

    def _say_in_color(self, context: Context, task: Task) -> None:
        """Before it is said, its pictures are left to others, so that nobody who asks for new colors is sent to this reply."""
        mention = context.mention
        self._database.release(mention.fullname)
        text = replies.already_in_color(task.position, task.total)
        self._reply(context, text, "in_color", State.REPLIED)
        self._delete_tasks_when_over(mention)

    def reconsider(self, mention: Mention, edited: Comment) -> None:
        """A comment that was answered asks something else now: a refusal gives way to a new answer, a picture only to `delete`."""
        command = self._policy.command(edited)
        if command is None:
            return
        if command.kind == "delete" and mention.state == State.REPLIED:
            self._eraser.erase(mention)
        elif mention.state == State.REFUSED and mention.reply:
            self._reddit.delete(mention.reply)
            anew = {"outcome": "", "attempts": 0, "failure": "", "failures": 0}
            self._database.update(mention.fullname, State.SEEN, self._clock(), **anew)
            log.info("mention_edited mention=%s", mention.fullname)

    # Ends.

    def _reply(
        self,
        context: Context,
        text: str,
        outcome: str,
        final_state: State,
        picture: Picture | None = None,
    ) -> None:
        """Below the mention; where that is forbidden, it ends in another way."""
        mention = context.mention
        try:
            if self._outbox.reply(mention, text, outcome, final_state, picture):
                self._uploader.refused(mention.subreddit)
        except ForbiddenError as error:
            if error.code in _REASONS:
                self._refuse(context, _REASONS[error.code])
            elif error.code.startswith("USER"):
                self._give_up(mention, error.code.lower())
            elif mention.failed("forbidden") < 2:  # one refusal may be a mishap
                self._outbox.postpone(mention, mention.state, "forbidden")
            elif self._reddit.is_banned_from(mention.subreddit):
                self._database.opt_out("banned", mention.subreddit)
                self._refuse(context, Reason.BANNED)
            else:  # nor anywhere else, perhaps: that is no reason to avoid this subreddit for good
                self._give_up(mention, "forbidden")

    def _refuse(self, context: Context, reason: Reason, details: Details = NO_DETAILS) -> None:
        """Say why not: in the thread, or in a message where the thread is no place for it."""
        mention, request = context.mention, context.request
        text = replies.refusal(reason, details)
        if reason not in IN_PRIVATE:
            self._reply(context, text, reason, State.REFUSED)
        elif request is not None and request.author:
            self._outbox.message(mention, request.author, text, reason)
        else:
            self._give_up(mention, reason)
        self._delete_tasks_when_over(mention)

    def _delete_tasks_when_over(self, mention: Mention) -> None:
        """Not before: where the reply is still to be made, or to be made again, the jobs alone know what to say."""
        now = self._database.mention(mention.fullname)
        if now and (now.state == State.REFUSED or (now.state, now.outcome) == (State.REPLIED, "in_color")):
            self._eraser.try_to_delete_tasks(mention.fullname)

    def _give_up(self, mention: Mention, outcome: str) -> None:
        """Without a word."""
        self._eraser.try_to_delete_tasks(mention.fullname)
        self._database.update(mention.fullname, State.GIVEN_UP, self._clock(), outcome=outcome)
        log.info("mention_dropped mention=%s reason=%s", mention.fullname, outcome)


def _post_link(fullname: str) -> str:
    """A post's address; "" of a comment."""
    kind, _, id = fullname.partition("_")
    return f"https://redd.it/{id}" if kind == "t3" else ""


def place_of(error: BaseException) -> str:
    """File and line where a fault was."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace else "?"
