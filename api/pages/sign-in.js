// Signs in, shows who one is, signs out. The session is in a cookie that no script reads.

const SESSION = "/api/v1/session";
const form = document.getElementById("sign-in");
const signedIn = document.getElementById("signed-in");
let csrfToken = null;

// Where somebody came from, if that is a page of this server.
function cameFrom() {
  const given = new URLSearchParams(location.search).get("to");
  const to = given?.startsWith("/") ? new URL(given, location.origin) : null;
  return to?.origin === location.origin ? to.pathname + to.search : null;
}

function show(session) {
  csrfToken = session?.csrf_token ?? null;
  form.hidden = session !== null;
  signedIn.hidden = session === null;
  document.title = session ? `${session.name} · Alatau` : "Sign in · Alatau";
  if (session === null) {
    document.getElementById("name").focus();
    return;
  }
  const seen = [session.districts, session.kinds].filter((names) => names !== null).map((names) => names.join(", "));
  const texts = {
    who: `Signed in as ${session.name}`,
    role: session.role,
    sees: seen.join("; ") || "the whole city",
    until: new Date(session.expires_at).toLocaleString(),
  };
  for (const [id, text] of Object.entries(texts)) {
    document.getElementById(id).textContent = text;
  }
}

// Return what is wrong as a sentence, also where the answer does not come from us.
async function explain(answer) {
  const problem = await answer.json().catch(() => ({}));
  return problem.detail ?? `The server answered with ${answer.status}; try again in a moment.`;
}

async function attempt(place, button, act) {
  place.textContent = "";
  button.disabled = true;
  try {
    await act();
  } catch {
    place.textContent = "The server can't be reached; try again in a moment.";
  } finally {
    button.disabled = false;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const error = document.getElementById("error");
  attempt(error, form.querySelector("button"), async () => {
    const answer = await fetch(SESSION, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ name: form.elements.name.value, password: form.elements.password.value }),
    });
    form.elements.password.value = "";
    if (answer.ok) {
      location.assign(cameFrom() ?? "/ui");
    } else {
      error.textContent = await explain(answer);
      form.elements.password.focus();
    }
  });
});

document.getElementById("sign-out").addEventListener("click", (event) => {
  const trouble = document.getElementById("trouble");
  attempt(trouble, event.currentTarget, async () => {
    const answer = await fetch(SESSION, { method: "DELETE", headers: { "X-CSRF-Token": csrfToken } });
    if (answer.ok || answer.status === 401) {
      show(null);
    } else {
      trouble.textContent = await explain(answer);
    }
  });
});

const elsewhere = form.querySelector("a");
if (elsewhere !== null && cameFrom() !== null) {
  elsewhere.search = new URLSearchParams({ to: cameFrom() });
}

attempt(document.getElementById("error"), form.querySelector("button"), async () => {
  const answer = await fetch(SESSION);
  if (answer.ok && cameFrom() !== null) {
    location.replace(cameFrom());
  }
  show(answer.ok ? await answer.json() : null);
}).then(() => {
  form.hidden = !signedIn.hidden;
});
