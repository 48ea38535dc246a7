"""Upload, list, download, delete."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import RequestFactory, TestCase, override_settings

from reader.models import Upload
from reader.views.files import download

TWENTY_MEGABYTES = 20 * 1024 * 1024


class FilesTest(TestCase):
    """With a folder of its own for what is uploaded."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        settings = override_settings(MEDIA_ROOT=self.folder)
        settings.enable()
        self.addCleanup(settings.disable)
        self.user = get_user_model().objects.create_user("ada")
        self.client.force_login(self.user)

    def send(self, name: str, content: bytes) -> int:
        """Uploads a file and returns the status of the answer."""
        return self.client.post("/files/", {"file": SimpleUploadedFile(name, content)}).status_code

    def test_twenty_megabytes_come_back_as_they_were(self) -> None:
        content = hashlib.shake_256(b"demo").digest(1024) * (TWENTY_MEGABYTES // 1024)
        self.assertEqual(self.send("big.bin", content), 302)
        upload = Upload.objects.get()
        self.assertContains(self.client.get("/files/"), "20.0\xa0MB")
        answer = self.client.get(upload.get_absolute_url())
        self.assertEqual(answer["Content-Length"], str(TWENTY_MEGABYTES))
        self.assertIn('filename="big.bin"', answer["Content-Disposition"])
        self.assertEqual(b"".join(answer.streaming_content), content)

    def test_the_server_gets_a_file_to_send(self) -> None:
        self.send("a.txt", b"words")
        # Not through the test client, which wraps the content in an iterator of its own.
        answer = download(RequestFactory().get("/"), Upload.objects.get().pk)
        # What Django passes to wsgi.file_wrapper (PEP 3333).
        with answer.file_to_stream as file:
            self.assertEqual(file.read(), b"words")

    def test_an_empty_file_is_a_file(self) -> None:
        self.assertEqual(self.send("empty", b""), 302)
        answer = self.client.get(Upload.objects.get().get_absolute_url())
        self.assertEqual(b"".join(answer.streaming_content), b"")

    def test_the_name_never_becomes_a_path_and_a_page_never_runs(self) -> None:
        self.send("../../évil.html", b"<script>1</script>")
        upload = Upload.objects.get()
        self.assertEqual(upload.name, "évil.html")
        self.assertEqual(Path(upload.file.path).parent, self.folder)
        answer = self.client.get(upload.get_absolute_url())
        self.assertTrue(answer["Content-Disposition"].startswith("attachment"))
        self.assertEqual(answer.getvalue(), b"<script>1</script>")

    @override_settings(READER_UPLOAD_LIMIT_BYTES=10)
    def test_a_file_above_the_limit_is_refused(self) -> None:
        self.assertEqual(self.send("big", b"x" * 11), 422)
        self.assertEqual(self.send("small", b"x" * 10), 302)
        self.assertEqual(len(list(self.folder.iterdir())), 1)

    def test_sending_needs_a_login_and_fetching_does_not(self) -> None:
        self.send("a.txt", b"words")
        self.client.logout()
        answer = self.client.post("/files/", {"file": SimpleUploadedFile("b", b"b")})
        self.assertRedirects(answer, "/login/?next=/files/")
        self.assertEqual(Upload.objects.count(), 1)
        answer = self.client.get(Upload.objects.get().get_absolute_url())
        self.assertEqual(b"".join(answer.streaming_content), b"words")

    def test_only_the_owner_deletes_and_the_file_goes_with_the_row(self) -> None:
        self.send("a.txt", b"words")
        address = Upload.objects.get().get_absolute_url() + "delete/"
        self.client.force_login(get_user_model().objects.create_user("eve"))
        self.assertEqual(self.client.post(address).status_code, 403)
        self.assertEqual(self.client.get(address).status_code, 405)
        self.client.force_login(self.user)
        with self.captureOnCommitCallbacks(execute=True):
            self.assertEqual(self.client.post(address).status_code, 302)
        self.assertEqual(list(self.folder.iterdir()), [])
